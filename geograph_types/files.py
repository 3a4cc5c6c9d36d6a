"""Files: whole or not at all, JSON, hashes, locks, and the files of this project that its code needs."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PACKAGE = Path(__file__).resolve().parent
# The repository, or `site-packages`: the travelling files lie here in both.
ROOT = PACKAGE.parent
# Where an installed package keeps what lies at the repository's root (cards, config.json, the metric).
INSTALLED = PACKAGE / "data"

# How the name of a file ends that is not whole yet.
TEMPORARY = ".tmp"
_temporaries: set[Path] = set()

# What a spreadsheet takes for a formula, or for the start of one, at the beginning of a cell; blanks before it do not
# count, as some drop them. By the rules of RE2, which Arrow has, and of Python alike.
_BLANK = "[ \t\r\n\f\v\u0085\u00a0\u2000-\u200b\u202f\u3000\ufeff]"
FORMULA = f"^([\t\r\n]|{_BLANK}*[=+\\-@\uff1d\uff0b\uff0d\uff20])"


# A disk without room, a quota or a limit of file size that is used up.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(error: BaseException, place: Path | None = None) -> bool:
    """Whether an error means that there is no more room; torch does not say so: the disk of `place` tells."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    if any(f"(os error {number})" in str(error) for number in FULL):  # safetensors
        return True
    return place is not None and shutil.disk_usage(place).free < 1 << 20


@contextlib.contextmanager
def full_disk_named(path: str | Path) -> Iterator[None]:
    """An error within that says that a disk is full says where, too: libraries leave that out."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or error.filename:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def harmless_cell(text: str) -> str:
    """A text as a cell of a CSV: with an apostrophe before it where a spreadsheet would run it as a formula."""
    return f"'{text}" if re.match(FORMULA, text) else text


def resource(name: str) -> Path:
    """A file or folder of the project by its path in the repository, from a clone and from an installed package."""
    installed = INSTALLED / name
    return installed if installed.exists() else ROOT / name


@contextlib.contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a file that appears under its name only when the block ends without an error."""
    path = Path(path)
    with full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path)
        with _open_whole(path, mode) as file:
            yield file


@contextlib.contextmanager
def _open_whole(path: Path, mode: str) -> Iterator[IO]:
    descriptor, temporary = _locked_temporary(path)
    try:
        with (
            temporary_while_it_lasts(temporary),
            open(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file,
        ):
            yield file
            file.flush()
            if fcntl is not None:  # still locked, so that nobody takes it for a stale one
                _publish(temporary, path)
        if fcntl is None:  # Windows renames no open file
            _publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _publish(temporary: Path, path: Path) -> None:
    temporary.chmod(ordinary_mode())
    temporary.replace(path)


def _locked_temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, locked while it is open: one that nobody has locked was left by a killed process."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
        if fcntl is None:
            return descriptor, Path(name)
        with contextlib.suppress(OSError):  # a file system without locks: nothing there is ever called stale
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            if os.stat(name).st_ino == os.fstat(descriptor).st_ino:  # noqa: PTH116
                return descriptor, Path(name)
        os.close(descriptor)  # another process took it for a stale one before it was locked


def remove_stale(path: Path) -> None:
    """Removes what killed processes left beside `path` while they wrote it."""
    if fcntl is None:
        return
    with os.scandir(path.parent) as entries:
        prefix = f".{path.name}."
        left = [Path(e.path) for e in entries if e.name.startswith(prefix) and e.name.endswith(TEMPORARY)]
    for file in left:
        with contextlib.suppress(OSError), file.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()


@contextlib.contextmanager
def temporary_while_it_lasts(path: Path) -> Iterator[None]:
    """Until the block ends, a file or folder goes with the process, should that be ended at once."""
    _temporaries.add(path)
    try:
        yield
    finally:
        _temporaries.discard(path)


def remove_temporaries() -> None:
    """Removes what is being written now: for a process that is about to end at once."""
    for path in list(_temporaries):
        with contextlib.suppress(OSError):
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)


def ordinary_mode() -> int:
    """The permissions that a new file gets: some libraries write theirs for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write_json(path: str | Path, value: Any) -> None:
    """Indented JSON, whole or not at all."""
    with whole_file(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def sha256_of(path: str | Path) -> str:
    """A file's SHA-256, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder in the system's temporary one, gone when the block ends; those that killed processes left go first.

    Args:
        purpose: a word for its name, such as "model".
    """
    own = f"geograph-{purpose}-"
    for path in Path(tempfile.gettempdir()).glob(f"{own}*-*"):
        pid = path.name.removeprefix(own).split("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=f"{own}{os.getpid()}-") as folder,
        temporary_while_it_lasts(Path(folder)),
    ):
        yield Path(folder)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
