"""Any file, pipe or standard input → its text as UTF-8, decompressed, in chunks; what is damaged is named.

Nothing waits for ever: a pipe that stays silent and a device that never ends are refused.
"""

import bz2
import codecs
import io
import lzma
import os
import select
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard
from isal import igzip_lib

from geograph_types.cli import CommandError
from geograph_types.rows import formats

CHUNK = 1 << 20
ZSTD_INPUT = 1 << 14  # its library gives all at once that its input holds, which may be ten thousand times as much

# Seconds that a named pipe may stay silent; its writer may have to compute.
PIPE_SILENCE = 120

# What decompressors raise of bytes that they cannot make sense of.
DAMAGED = (OSError, igzip_lib.IsalError, lzma.LZMAError, zstandard.ZstdError, zipfile.BadZipFile, ValueError)

# Packed files within packed files that are opened.
DEEPEST = 2

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_UTF32 = {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"}


def open_file(name: str, path: Path) -> io.BufferedReader:
    """A file to read, also a named pipe; `name` is what messages call it.

    Raises:
        CommandError: missing, a folder, or a device.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISCHR(kind) or stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
            raise CommandError(f"{name}: a device, not a file of rows")
        return io.BufferedReader(_Pipe(name, path), CHUNK) if stat.S_ISFIFO(kind) else path.open("rb")
    except FileNotFoundError:
        raise CommandError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise CommandError(f"{name}: a folder") from None
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}") from None


class _Pipe(io.RawIOBase):
    """A named pipe that is given up when nothing comes for a while."""

    def __init__(self, name: str, path: Path):
        self.name = name
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(PIPE_SILENCE * 1000):
            raise CommandError(f"{self.name}: a pipe into which nothing was written for {PIPE_SILENCE} seconds")
        data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def unpacked(name: str, file: io.BufferedReader) -> io.BufferedReader:
    """The same bytes, decompressed as often as their beginning says.

    Raises:
        CommandError: an archive of several files, or of what we do not read.
    """
    for _ in range(DEEPEST):
        kind = formats.compression_of(_head(name, file, 8))
        if kind is None:
            break
        inner = _member_of_zip(name, file) if kind == "zip" else _READERS[kind](file)
        file = io.BufferedReader(_Guarded(name, inner), CHUNK)
    return file


def _head(name: str, file: io.BufferedReader, size: int) -> bytes:
    try:
        return file.peek(size)[:size]
    except OSError as error:
        raise CommandError(f"{name}: cannot be read: {error.strerror or error}") from None


class _Guarded(io.RawIOBase):
    """Reads from a decompressor; its errors become one line."""

    def __init__(self, name: str, inner: BinaryIO):
        self.name, self.inner = name, inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            data = self.inner.read(len(buffer))
        except EOFError:
            raise CommandError(f"{self.name}: cut short: its compressed data end early; fetch it again") from None
        except DAMAGED as error:
            raise CommandError(f"{self.name}: damaged: {error}; fetch it again") from None
        except (RuntimeError, NotImplementedError) as error:  # zipfile: a password, or a method it does not know
            raise CommandError(f"{self.name}: cannot be unpacked: {error}") from None
        buffer[: len(data)] = data
        return len(data)


class _Frames:
    """gzip, bz2, xz and zstd: one stream after another, each whole, nothing else behind them."""

    def __init__(self, file: BinaryIO, make: Callable, size: int, bounded: bool):
        self._file, self._make, self._size, self._bounded = file, make, size, bounded
        self._decoder, self._waiting, self._ready = make(), b"", b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            if self._decoder.eof:
                rest = (self._decoder.unused_data or b"") or self._file.read(self._size)
                rest = rest.lstrip(b"\0")
                if not rest:
                    return b""
                if not self._is_frame(rest):
                    raise ValueError("after its compressed data stands something else")
                self._decoder, self._waiting = self._make(), rest
            if not self._waiting and getattr(self._decoder, "needs_input", True):
                self._waiting = self._file.read(self._size)
                if not self._waiting:
                    raise EOFError
            limit = (CHUNK,) if self._bounded else ()
            data, self._waiting = self._waiting, b""
            self._ready = self._decoder.decompress(data, *limit)
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    @staticmethod
    def _is_frame(data: bytes) -> bool:
        return any(magic.startswith(data[: len(magic)]) for magic in formats.COMPRESSED)


def _gzip_decoder() -> igzip_lib.IgzipDecompressor:
    """Three times zlib's speed; it checks each stream's sum."""
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


_READERS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    "gzip": lambda file: _Frames(file, _gzip_decoder, CHUNK, True),
    "bzip2": lambda file: _Frames(file, bz2.BZ2Decompressor, CHUNK, True),
    "xz": lambda file: _Frames(file, lzma.LZMADecompressor, CHUNK, True),
    "zstd": lambda file: _Frames(file, zstandard.ZstdDecompressor().decompressobj, ZSTD_INPUT, False),
}


def _member_of_zip(name: str, file: io.BufferedReader) -> BinaryIO:
    """The one file of rows in a zip, as Kaggle packs one."""
    if not file.seekable():
        raise CommandError(f"{name}: a zip cannot be read from a stream; name the file itself")
    try:
        archive = zipfile.ZipFile(file)
        members = [i for i in archive.infolist() if not i.is_dir() and not _is_clutter(i.filename)]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CommandError(f"{name}: a damaged zip ({error}); fetch it again") from None
    names = [member.filename for member in members]
    if any(n.endswith("data.pkl") or n.endswith(".npy") for n in names):
        raise CommandError(f"{name}: NumPy arrays or a PyTorch file, not rows; put the vectors into Parquet or JSONL")
    if any(n.startswith("xl/") for n in names):
        raise CommandError(f"{name}: an Excel workbook; save the sheet as CSV")
    rows = [member for member in members if formats.is_data(member.filename)]
    rows = rows if rows or len(members) != 1 else members
    if len(rows) != 1:
        told = ", ".join(sorted(names)[:5]) or "nothing"
        raise CommandError(f"{name}: a zip must hold one file of rows, this one has {told}; unpack it first")
    if rows[0].flag_bits & 1:
        raise CommandError(f"{name}: the zip is locked with a password; unpack it first")
    try:
        return archive.open(rows[0])
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise CommandError(f"{name}: a damaged zip ({error}); fetch it again") from None


def _is_clutter(filename: str) -> bool:
    parts = Path(filename).parts
    return "__MACOSX" in parts or parts[-1].startswith(".")


def is_utf8(head: bytes) -> bool:
    """Whether no byte order mark says that a text is UTF-16 or UTF-32."""
    return head[:4] not in _UTF32 and head[:2] not in _UTF16


def text_chunks(name: str, file: io.BufferedReader) -> Iterator[bytes]:
    """UTF-8 in chunks; UTF-16 and UTF-32 are recoded where a byte order mark says so.

    Raises:
        CommandError: the text is broken.
    """
    head = _head(name, file, 4)
    encoding = _UTF32.get(head) or _UTF16.get(head[:2])
    if encoding is None:
        while chunk := file.read(CHUNK):
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while chunk := file.read(CHUNK):
            yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise CommandError(f"{name}: broken {encoding}: {error.reason}") from None
