"""What visitors upload: files in a folder that only this process's user can read, bounded, and gone with the process.

However the process ends, nothing stays: at exit, SIGTERM and SIGHUP the folder is removed at once; after a kill or a
crash the next start removes it, which a lock on it tells from the folder of a process that still runs.
"""

import os
import shutil
import stat
import tempfile
import threading
import time
from pathlib import Path

from filelock import FileLock, Timeout

MEMORY = Path("/dev/shm")  # noqa: S108 (a private folder of its own in it)
MIB = 1024**2
FILE_LIMIT = 20 * MIB  # of one upload
TOTAL_LIMIT = 256 * MIB  # of all of them, where the room is
# Memory is used only where that leaves most of it free: Docker gives 64 MiB unless told otherwise.
SHARE_OF_FREE = 1 / 4
KEPT = 30 * 60  # seconds
MOST_FILES = 1000  # of any size: looking through them takes time and memory, too
QUEUE_SIZE = 32  # questions that wait; the next is told to come again
LOCK = "lock"


class Uploads:
    """The folder. `folder` is where Gradio may write; `limit` is in bytes, of all files in it together."""

    def __init__(self, parents: list[Path] | None = None, limit: int = TOTAL_LIMIT, kept: float = KEPT):
        """Removes what ended processes left, then makes a folder in the first of `parents` that has the room.

        Args:
            parents: by default the system's memory, then its temporary folder. kept: seconds.
        """
        places = [p for p in parents or [MEMORY, Path(tempfile.gettempdir())] if p.is_dir() and os.access(p, os.W_OK)]
        for place in places:
            remove_left_behind(place)
        roomy = [place for place in places if _free(place) * SHARE_OF_FREE >= limit]
        place = roomy[0] if roomy else max(places, key=_free)
        self.limit, self.kept = min(limit, int(_free(place) * SHARE_OF_FREE)), kept
        self.file_limit = min(FILE_LIMIT, self.limit)
        self._changing = threading.Lock()
        self._promised: dict[int, int] = {}  # bytes of uploads on their way
        self._ended = threading.Event()
        own = _private_folder(place)
        with FileLock(own / LOCK):
            self._run = Path(tempfile.mkdtemp(prefix="run-", dir=own))
            self._lock = FileLock(self._run / LOCK)
            self._lock.acquire()
        self.folder = self._run / "uploads"
        self.folder.mkdir(mode=0o700)
        threading.Thread(target=self._keep_tidy, daemon=True, name="geograph-uploads").start()

    def room_for(self, size: int, ticket: int) -> bool:
        """Makes room for an upload of `size` bytes by removing the oldest; False where it can never fit.

        Call `arrived` with the same ticket when its bytes are there.
        """
        if size > self.limit:
            return False
        with self._changing:
            self._promised[ticket] = size
            self._trim(self.limit - sum(self._promised.values()))
        return True

    def arrived(self, ticket: int) -> None:
        """An upload is whole, or was given up."""
        with self._changing:
            self._promised.pop(ticket, None)
            self._trim(self.limit - sum(self._promised.values()))

    def forget(self, path: str | Path) -> None:
        """Removes one upload now."""
        if self.folder in Path(path).parents:
            Path(path).unlink(missing_ok=True)

    def remove(self) -> None:
        """The end: nothing is left."""
        self._ended.set()
        with self._changing:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.release()
            shutil.rmtree(self._run, ignore_errors=True)

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each file came, its size, and its path; oldest first."""
        found = []
        for path in self.folder.rglob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_mtime, status.st_size, path))
        return sorted(found)

    def _trim(self, limit: int) -> None:
        files = self._files()
        size, too_old = sum(size for _, size, _ in files), time.time() - self.kept
        for i, (came, bytes_, path) in enumerate(files):
            if came < too_old or size > limit or len(files) - i > MOST_FILES:
                path.unlink(missing_ok=True)
                size -= bytes_
        for folder in self.folder.iterdir():  # Gradio makes one a file
            try:
                old = folder.stat().st_mtime < time.time() - 60
                if old and folder.is_dir():
                    folder.rmdir()
            except OSError:  # not empty, or gone
                continue

    def _keep_tidy(self) -> None:
        while not self._ended.wait(5):
            with self._changing:
                if not self._ended.is_set():
                    self._trim(self.limit - sum(self._promised.values()))


def remove_left_behind(place: Path) -> None:
    """Removes the folders of processes that ended without doing so."""
    for folder in (
        place.glob("geograph-types-*") if place == MEMORY else ()
    ):  # as version 1.0.0 left them: named by their process
        process = folder.name.rpartition("-")[2]
        if process.isdigit() and not Path("/proc", process).exists() and folder.lstat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
    own = place / _name()
    if not _is_private(own):
        return
    with FileLock(own / LOCK):
        for run in own.glob("run-*"):
            lock = FileLock(run / LOCK, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue  # its process runs
            except OSError:
                continue
            lock.release()
            shutil.rmtree(run, ignore_errors=True)


def _name() -> str:
    return f"geograph-space-{os.getuid() if hasattr(os, 'getuid') else os.environ.get('USERNAME', 'user')}"


def _is_private(folder: Path) -> bool:
    """Whether it is a real folder of this user's that no other can enter."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return stat.S_ISDIR(status.st_mode) and mine and not status.st_mode & 0o077


def _private_folder(place: Path) -> Path:
    own = place / _name()
    try:
        own.mkdir(mode=0o700)
    except FileExistsError:
        if not _is_private(own):  # somebody else's: leave it alone
            return Path(tempfile.mkdtemp(prefix="geograph-space-", dir=place))
    return own


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free
