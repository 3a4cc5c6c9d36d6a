"""Files and folders that are whole or not there, and nothing of a killed process that stays for ever."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from geograph_types import cli
from geograph_types.dataset.folder import folder_in_place
from geograph_types.files import FORMULA, harmless_cell, temporary_folder, whole_file
from geograph_types.prediction.answers import AnswerFile
from names_geograph import CLASSES

DIES = """
import os, signal
from geograph_types.files import temporary_folder
with temporary_folder("dies") as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_spreadsheet_runs_no_cell():
    """One pattern for Python's rules and for Arrow's."""
    import pyarrow.compute as pc

    for blank in ("", "  ", "\t", " \xa0", "\u3000", "\u200b\ufeff"):
        for sign in "=+-@\uff1d":
            cell = f"{blank}{sign}1+1"
            assert harmless_cell(cell) == f"'{cell}"
            assert pc.replace_substring_regex([cell], FORMULA, "'\\1").to_pylist() == [f"'{cell}"]
    for plain in ("", "  a = b", "A -1", "Inside", "1-2"):
        assert harmless_cell(plain) == plain


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    died = subprocess.run(
        [sys.executable, "-c", DIES], env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True
    )
    left = Path(died.stdout.decode().strip())
    assert left.is_dir()
    with temporary_folder("dies") as mine, temporary_folder("dies") as other:
        assert not left.exists()
        assert mine.is_dir() and other.is_dir() and mine != other
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def no_room():
    """Files may not grow beyond 4 KB: the same errors as a full disk's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_a_file(path):
    with whole_file(path) as file:
        file.write("x" * 10000)


def write_answers(path):
    identity = {"long": "x" * 10000}
    with AnswerFile(path.with_suffix(".csv"), "gridimage_id", CLASSES, identity) as file:
        file.finish()


def make_a_folder(path):
    with folder_in_place(path) as folder, (folder / "rows").open("wb", buffering=0) as file:
        os.write(file.fileno(), bytes(4096))
        os.write(file.fileno(), b"x")


@pytest.mark.parametrize("write", [write_a_file, write_answers, make_a_folder])
def test_a_full_disk_is_named(tmp_path, write):
    with no_room(), pytest.raises(OSError) as caught:
        write(tmp_path / "name")
    assert cli.said_of(caught.value).startswith(str(tmp_path / "name"))
    assert cli.said_of(caught.value).endswith("make room, then run the same command again")
    assert not (tmp_path / "name").exists() and not (tmp_path / "name.csv").exists()


def test_where_a_copy_fails_its_target_is_named():
    error = OSError(28, "No space left on device", "mine.py", None, "there/theirs.py")
    assert cli.said_of(error).startswith("there/theirs.py: No space")
