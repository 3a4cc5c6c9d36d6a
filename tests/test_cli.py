"""What all commands share: exit statuses, one line for an error, files that are whole or absent."""

import subprocess
import sys
import textwrap
from dataclasses import dataclass, field

import pytest

from geograph_types import cli
from geograph_types.files import whole_file


def run(root, body: str, *arguments: str, **kwargs) -> subprocess.CompletedProcess:
    """A command whose `main` is `body`, in a fresh process."""
    code = "import sys; from geograph_types import cli\ndef main():\n"
    code += textwrap.indent(textwrap.dedent(body), "    ") + "\ncli.run(main)"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **kwargs)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("print('done')", 0, ""),
        ("raise cli.CommandError('rows.jsonl: line 3\\nis broken')", 1, "rows.jsonl: line 3 is broken"),
        ("raise ValueError('7 is not a bucket')", 1, "7 is not a bucket"),
        ("open('/no/such/file')", 1, "/no/such/file: No such file or directory"),
        ("raise KeyboardInterrupt", 130, "stopped"),
        ("cli.usage_error('name a file')", 2, "name a file; see --help"),
    ],
)
def test_exit_status_and_one_line(root, body, status, message):
    result = run(root, body)
    assert result.returncode == status
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 1
    assert result.stdout == ("done\n" if status == 0 else "")


def test_a_programming_error_keeps_its_traceback(root):
    result = run(root, "raise TypeError('ours')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_a_reader_that_goes_away_is_no_error(root):
    code = "import sys; from geograph_types import cli\n"
    code += "def main():\n  for i in range(200000): print(i)\ncli.run(main)"
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.readline()
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait() == 0


@dataclass
class Flags:
    batch_size: int = field(default=3, metadata={"help": "rows a batch"})

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"--batch_size must be 1 or more, got {self.batch_size}")


def test_flags_become_a_dataclass():
    assert cli.parse_flags(Flags, description="x", args=["--batch_size", "5"]) == (Flags(5),)


@pytest.mark.parametrize("args", [["--batch_size", "0"], ["--batch_size", "many"], ["--no_such_flag", "1"]])
def test_wrong_usage_is_status_2(args, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse_flags(Flags, description="x", args=args)
    assert stop.value.code == 2
    assert args[0].lstrip("-") in capsys.readouterr().err


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "answers.txt"
    with whole_file(path) as file:
        file.write("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write("sec")
        raise RuntimeError
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path], "nothing half-written stays"
    with whole_file(path, "wb") as file:
        file.write(b"\x00")
    assert path.read_bytes() == b"\x00"
