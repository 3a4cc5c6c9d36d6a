"""The short part of `make kills`: a fixed seed, one round of each quick scenario; and the frame itself."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


def test_one_round_of_the_quick_ones():
    command = [sys.executable, "-m", "tests.kills", "prepare", "download", "--seconds", "0", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed = [int(line.split()[1]) for line in done.stdout.splitlines()[1:]]
    assert all(killed), done.stdout


CARELESS = """
from pathlib import Path
from tests.kills.frame import Scenario, torture

def run(work, _):
    with open("result", "w") as file:
        file.write("half, ")
    if not Path("done").exists():
        with open("done", "w"):
            pass
        with open("result", "a") as file:
            file.write("whole")

def whole(work, _):
    assert {check}, "a half is there"

scenario = Scenario("careless", run, lambda work, _: Path(work / "result").read_bytes(), whole=whole)
tally = torture(scenario, 5, 0)
print(tally.failures)
"""


@pytest.mark.parametrize(("check", "word"), [("True", "differs from an undisturbed"), ("False", "a half is there")])
def test_a_careless_command_is_found_out(check, word):
    code = CARELESS.replace("{check}", check)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert word in done.stdout, done.stderr
