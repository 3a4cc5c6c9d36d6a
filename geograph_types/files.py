"""Files: whole or not at all, JSON, hashes, locks, and the files of this project that its code needs."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PACKAGE = Path(__file__).resolve().parent
# The repository, or `site-packages`: the travelling files lie here in both.
ROOT = PACKAGE.parent
# Where an installed package keeps what lies at the repository's root (cards, config.json, the metric).
INSTALLED = PACKAGE / "data"


def resource(name: str) -> Path:
    """A file or folder of the project by its path in the repository, from a clone and from an installed package."""
    installed = INSTALLED / name
    return installed if installed.exists() else ROOT / name


@contextlib.contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a file that appears under its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        Path(temporary).chmod(ordinary_mode())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
