"""The folder of uploads: bounded, private, and gone however its process ends."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from geograph_types.space.uploads import Uploads

START = (
    "import sys, time; from pathlib import Path; from geograph_types.space.uploads import Uploads; "
    "u = Uploads([Path(sys.argv[1])]); (u.folder / 'photo.jpg').write_bytes(b'x'); print('ready', flush=True); "
    "time.sleep(60)"
)


@pytest.fixture
def uploads(tmp_path):
    uploads = Uploads([tmp_path], limit=1000, kept=50)
    yield uploads
    uploads.remove()


def put(uploads, name: str, size: int, age: float = 0) -> None:
    (uploads.folder / name).write_bytes(bytes(size))
    os.utime(uploads.folder / name, (time.time() - age,) * 2)


def test_the_oldest_go_when_room_is_needed(uploads):
    for i, age in enumerate((30, 20, 10)):
        put(uploads, str(i), 300, age)
    assert uploads.room_for(500, ticket=1)
    assert sorted(p.name for p in uploads.folder.iterdir()) == ["2"]
    put(uploads, "new", 500)
    uploads.arrived(1)
    assert sorted(p.name for p in uploads.folder.iterdir()) == ["2", "new"]
    assert not uploads.room_for(1001, ticket=2), "what can never fit is refused"
    assert len(list(uploads.folder.iterdir())) == 2, "and nothing goes for it"


def test_two_on_their_way_share_the_room(uploads):
    assert uploads.room_for(600, 1)
    put(uploads, "first", 600, age=5)
    assert uploads.room_for(600, 2)
    uploads.arrived(1)
    assert sum(p.stat().st_size for p in uploads.folder.iterdir()) + 600 <= 1000


def test_none_stays_longer_than_said(uploads):
    put(uploads, "old", 10, age=51)
    put(uploads, "young", 10, age=20)
    uploads.arrived(0)
    assert [p.name for p in uploads.folder.iterdir()] == ["young"]


def test_many_small_ones_are_bounded_too(uploads, monkeypatch):
    monkeypatch.setattr("geograph_types.space.uploads.MOST_FILES", 3)
    for i in range(5):
        put(uploads, str(i), 1, age=10 - i)
    uploads.arrived(0)
    assert sorted(p.name for p in uploads.folder.iterdir()) == ["2", "3", "4"]


def test_private_and_removed(tmp_path):
    uploads = Uploads([tmp_path], limit=1000)
    assert stat.S_IMODE(uploads.folder.stat().st_mode) == 0o700
    (parent,) = tmp_path.iterdir()
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    put(uploads, "photo", 10)
    uploads.remove()
    assert not list(tmp_path.rglob("photo")) and not list(tmp_path.rglob("run-*"))


def test_the_next_start_removes_what_a_killed_process_left(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", START, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    another = Uploads([tmp_path], limit=1000)
    assert len(list(tmp_path.rglob("photo.jpg"))) == 1, "a process that runs keeps its own"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.rglob("photo.jpg"))) == 1
    Uploads([tmp_path], limit=1000).remove()
    assert not list(tmp_path.rglob("photo.jpg"))
    another.remove()


def test_a_folder_that_others_can_enter_is_not_used(tmp_path):
    (tmp_path / f"geograph-space-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"geograph-space-{os.getuid()}").chmod(0o777)
    uploads = Uploads([tmp_path], limit=1000)
    assert uploads.folder.parent.parent.name != f"geograph-space-{os.getuid()}"
    uploads.remove()
