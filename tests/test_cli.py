"""What all commands share: exit statuses, one line for an error, files that are whole or absent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
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
        ("raise ImportError('libtorch_cpu.so: failed to map segment from shared object')", 1, "error: out of memory"),
        ("open('/no/such/file')", 1, "/no/such/file: No such file or directory"),
        ("raise KeyboardInterrupt", 130, "stopped by Ctrl-C"),
        ("raise RuntimeError('no such device')", 1, "RuntimeError: no such device"),
        ("{}['embedding']", 1, "KeyError: 'embedding'"),
        ("import not_installed", 1, "No module named 'not_installed'"),
        ("raise MemoryError", 1, "out of memory"),
        ("b'\\xff'.decode()", 1, "can't decode byte 0xff"),
        ("raise BrokenPipeError(32, 'Broken pipe')", 1, "Broken pipe"),
        ("raise ValueError('got ' + 'A' * 100_000 + ', expected base64')", 1, "(100,001 characters)"),
        ("raise ValueError('title \\x1b[31mred')", 1, "title \\x1b[31mred"),
        ("cli.usage_error('name a file')", 2, "name a file; see --help"),
    ],
)
def test_exit_status_and_one_line(root, body, status, message):
    result = run(root, body)
    assert result.returncode == status
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 1
    assert result.stdout == ("done\n" if status == 0 else "")


def test_a_programming_error_is_one_line_that_says_where(root):
    result = run(root, "from geograph_types.prefetch import ahead; ahead(None)")
    assert result.returncode == 1
    assert "TypeError" in result.stderr and "at geograph_types/prefetch.py, line " in result.stderr
    assert len(result.stderr.splitlines()) == 1 and len(result.stderr) < 300
    environment = os.environ | {cli.TRACEBACK_VARIABLE: "1"}
    assert "Traceback" in run(root, "raise TypeError('ours')", env=environment).stderr


WAYS_TO_WAIT = {
    "python": "time.sleep(60)",
    "a library that does not hear": "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
    "what swallows exceptions": "type('', (), {'__del__': lambda self: time.sleep(60)})(); time.sleep(60)",
    "a pipe that is never written": "for _ in ahead(sys.stdin.buffer): pass",
}


@pytest.mark.parametrize("wait", WAYS_TO_WAIT)
@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_stopped_in_a_second_with_one_sentence_and_nothing_left(wait, number, status, tmp_path):
    code = f"""
import hashlib, sys, time
from geograph_types import cli, stopping
from geograph_types.files import whole_file
from geograph_types.prefetch import ahead
def main():
    with whole_file({str(tmp_path / "answers.csv")!r}) as file:
        file.write("half")
        stopping.when_stopped(lambda: "12 answers are kept")
        print("ready", flush=True)
        {WAYS_TO_WAIT[wait]}
cli.run(main)
"""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as command:
        assert command.stdout.readline() == "ready\n"
        time.sleep(0.05)
        start = time.monotonic()
        command.send_signal(getattr(signal, number))
        assert command.wait(10) == status
        assert time.monotonic() - start < 1.5
        said = command.stderr.read()
    assert said.startswith("-c: stopped by ") and said.endswith("; 12 answers are kept\n") and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_was_ignored_stays_ignored():
    code = "import os, signal; from geograph_types import cli\n"
    code += "def main(): os.kill(os.getpid(), signal.SIGHUP); print('done')\ncli.run(main)"
    result = subprocess.run(["nohup", sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "done\n")


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
    said = capsys.readouterr().err
    assert args[0].lstrip("-") in said and said.endswith("; see --help\n") and said.count("\n") == 1


@dataclass
class EveryKind:
    """What a flag can be."""

    rows: list[str] = field(metadata={"help": "files"})
    limit: int | None = None
    share: float = 0.5
    quiet: bool = False
    bar: bool = True
    names: list[str] = field(default_factory=list)
    kind: str = field(default="model", metadata={"choices": ["model", "dataset"], "positional": True})


def test_flags_of_every_kind():
    def parsed(text):
        return cli.parse_flags(EveryKind, description="x", args=text.split())[0]

    assert parsed("--rows a b") == EveryKind(["a", "b"])
    everything = "dataset --rows a --limit 3 --share 1e-2 --quiet --no_bar --names x y"
    assert parsed(everything) == EveryKind(["a"], 3, 0.01, True, False, ["x", "y"], "dataset")
    assert parsed("--rows a --bar false --quiet true").bar is False
    for wrong in ("", "--rows a --limit x", "--rows a --quiet maybe", "space --rows a"):
        with pytest.raises(SystemExit) as stop:
            parsed(wrong)
        assert stop.value.code == 2


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


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path):
    path = tmp_path / "answers.txt"
    code = f"""
import os, signal
from geograph_types.files import whole_file
with whole_file({str(path)!r}) as file:
    file.write("half"); file.flush(); os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ)
    assert len(list(tmp_path.iterdir())) == 1 and not path.exists()
    with whole_file(path) as first:
        assert len(list(tmp_path.iterdir())) == 1
        with whole_file(path) as second:
            assert len(list(tmp_path.iterdir())) == 2
            second.write("second")
        first.write("first")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_closed_streams_are_no_obstacle(root, tmp_path):
    """A scheduler may close them; what is opened next must not take their numbers."""
    body = "cli.say('x'); print('y'); print(open('f', 'w').fileno(), file=open('n', 'w'))"
    code = f"from geograph_types import cli\ndef main():\n    {body}\ncli.run(main)"
    done = subprocess.run(["sh", "-c", f'"{sys.executable}" -c "$0" <&- >&- 2>&-', code], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert int((tmp_path / "n").read_text()) > 2
