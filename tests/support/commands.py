"""Commands run in the tests' own process: a fresh Python that loads transformers costs seconds."""

import contextlib
import importlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from geograph_types import cli


@dataclass(frozen=True)
class Done:
    """As `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else ""


def in_process(command: str, *flags: object) -> Done:
    """Runs `command.py`, or a module with a `main`, as `cli.run` would, but for signals and the end of the process."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, [f"{command}.py", *map(str, flags)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                importlib.import_module(command).main()
            except SystemExit as end:
                status = end.code or 0
            except Exception as error:
                status = 1
                print(f"{command}.py: error: {cli.said_of(error)}", file=sys.stderr)
    finally:
        sys.argv = before
    return Done(status, out.getvalue(), err.getvalue())


def made_dataset(folder: Path, source: str, *flags: object) -> Path:
    """A prepared dataset in `folder`."""
    done = in_process("prepare_dataset", "--source", source, "--output_dir", folder, *flags)
    assert done.returncode == 0, done.stderr
    return folder
