"""Files and folders that are whole or not there, and nothing of a killed process that stays for ever."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from geograph_types.files import temporary_folder

DIES = """
import os, signal
from geograph_types.files import temporary_folder
with temporary_folder("dies") as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


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
