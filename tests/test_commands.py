"""What holds for every command alike."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.support import warm
from tests.support.imports import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_shown_and_loads_no_heavy_library(command):
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch', 'transformers', 'datasets', 'gradio'} & sys.modules.keys(), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code, ROOT / f"{command}.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout and done.stdout.startswith("usage")
    assert f"\n    python {command}.py " in done.stdout, "an example on a line of its own, as in the module"
    assert "(default: None)" not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_is_one_line(command):
    done = warm.run(f"{command}.py", "--no_such_flag")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
