"""Pickles in any dress: loading one runs whatever is in it, so none is published, whatever its name."""

import bz2
import io
import lzma
import pickletools
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill", ".cloudpickle", ".pyc"}
# Of what is packed, so much is looked at; deeper than this nothing is unpacked.
LOOKED_AT, DEEPEST = 64 << 20, 3
# A pickle of the oldest kind is text; longer ones than this are looked at no further.
LONGEST_TEXT = 16 << 20

# The first bytes of what is packed → how it is read.
UNPACK: dict[bytes, Callable[[IO[bytes]], bytes]] = {
    b"\x1f\x8b": lambda file: zlib.decompressobj(31).decompress(file.read(), LOOKED_AT),
    b"BZh": lambda file: bz2.BZ2Decompressor().decompress(file.read(), LOOKED_AT),
    b"\xfd7zXZ": lambda file: lzma.LZMADecompressor().decompress(file.read(), LOOKED_AT),
    b"\x78\x01": lambda file: zlib.decompressobj().decompress(file.read(), LOOKED_AT),
    b"\x78\x9c": lambda file: zlib.decompressobj().decompress(file.read(), LOOKED_AT),
    b"\x78\xda": lambda file: zlib.decompressobj().decompress(file.read(), LOOKED_AT),
}


def is_pickle(path: Path) -> bool:
    """By its name where it is not empty, by its content, or by that of a file packed in it."""
    if path.suffix.lower() in PICKLE_SUFFIXES and path.stat().st_size:
        return True
    with path.open("rb") as file:
        return _holds_pickle(file, DEEPEST)


def _holds_pickle(file: IO[bytes], depth: int) -> bool:
    head = file.read(8)
    file.seek(0)
    if head[:1] == b"\x80" and head[1:2] in {b"\1", b"\2", b"\3", b"\4", b"\5"}:
        return True
    if head[:6] == b"\x93NUMPY":
        return _is_object_array(file)
    if depth:
        for magic, unpack in UNPACK.items():
            if head.startswith(magic):
                try:
                    return _holds_pickle(io.BytesIO(unpack(file)), depth - 1)
                except (OSError, EOFError, zlib.error, lzma.LZMAError):
                    return False
        if any(
            name.lower().endswith((".pkl", ".pickle")) or _holds_pickle(entry, depth - 1)
            for name, entry in _packed(file)
        ):
            return True
    file.seek(0)
    return _is_oldest_kind(file)


def _packed(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """The files in a zip or tar, such as torch.save and numpy.savez write."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                try:
                    with archive.open(entry) as packed:
                        yield entry.filename, io.BytesIO(packed.read(LOOKED_AT))
                except (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error):  # locked, or damaged
                    yield entry.filename, io.BytesIO()
        return
    file.seek(0)
    if file.read(512)[257:262] != b"ustar":
        return
    file.seek(0)
    try:
        with tarfile.open(fileobj=file) as archive:
            for entry in archive:
                packed = archive.extractfile(entry)
                yield entry.name, io.BytesIO(packed.read(LOOKED_AT) if packed else b"")
    except tarfile.TarError:
        return


def _is_object_array(file: IO[bytes]) -> bool:
    """Whether a .npy file holds Python objects, which are pickled."""
    import numpy as np

    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return bool(read(file)[2].hasobject)
    except (ValueError, OSError):
        return True  # not to be told


def _is_oldest_kind(file: IO[bytes]) -> bool:
    """Protocol 0, which has no mark of its own: all of it must be a program for the unpickler."""
    content = file.read(LONGEST_TEXT)
    if b"." not in content or len(content) < 3:
        return False
    stream = io.BytesIO(content)
    try:
        pickletools.dis(stream, out=io.StringIO())
    except (ValueError, KeyError, IndexError, AssertionError, UnicodeError, EOFError, AttributeError):
        return False
    return not content[stream.tell() :].strip()
