"""What lies in people's folders: which files are photos, what the others are, and which photos are damaged.

`within` is for what comes from elsewhere, which may never come.
"""

import collections
import importlib.util
import os
import queue
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp"}
PHOTO_SUFFIXES |= {".avif", ".jp2"}
HEIF_SUFFIXES = {".heic", ".heif", ".hif"}  # with pillow-heif
# Folders that NASes, Macs and Windows make by themselves; so is everything whose name begins with a dot.
MACHINE_FOLDERS = {"@eadir", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "system volume information"}
NEEDS_HEIF = "HEIC, as phones store photos: install pillow-heif (pip install pillow-heif), or save it as JPEG"

# How a file begins → what it is and what to do.
BEGINNINGS = (
    (b"\xff\x0a", "JPEG XL, which is not read here; save it as JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "JPEG XL, which is not read here; save it as JPEG or PNG"),
    (b"%PDF", "a PDF, not a photo; save its picture as JPEG or PNG"),
    (b"8BPS", "a Photoshop file; save it as JPEG or PNG"),
    (b"FUJIFILM", "a camera's raw file; save it as JPEG"),
    (b"IIU\0", "a camera's raw file; save it as JPEG"),
    (b"IIRO", "a camera's raw file; save it as JPEG"),
    (b"\0\0\x01\0", "an icon, not a photo"),
    (b"PK\x03\x04", "a zip archive, not a photo; unpack it first"),
    (b"\x1f\x8b", "a gzip archive, not a photo; unpack it first"),
    (b"Rar!", "a rar archive, not a photo; unpack it first"),
    (b"RIFF", "a sound or a film, not a photo; save a still of it as JPEG"),
    (b"\x1aE\xdf\xa3", "a film, not a photo; save a still of it as JPEG"),
    (b"%!PS", "PostScript, which is not opened here; save it as PNG"),
    (b"\0\x05\x16\x07", "a Mac's note about a file, not the photo itself"),
    (b"version https://git-lfs", "a git-lfs pointer, not the photo itself; fetch it with git lfs pull"),
    (b"<svg", "an SVG drawing, not a photo; save it as PNG"),
    (b"<", "a web page or XML, not a photo; download the photo itself"),
    (b"{", "JSON text, not a photo"),
)
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
NAMES = (
    (b"\xff\xd8", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"RIFF", "WebP"), (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"), (b"BM", "BMP"), (b"\0\0\0\x0cjP", "JPEG 2000"),
)  # fmt: skip


class PhotoError(ValueError):
    """This photo cannot be encoded: one line with its name and the reason; the reason alone is `reason`."""

    def __init__(self, message: str, reason: str | None = None):
        super().__init__(message)
        self.reason = reason or message


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` gives, or its error. The time limits of sockets begin anew at each byte; this one does not.

    Raises:
        TimeoutError: it takes longer; its thread ends with the program, or when `work` does.
    """
    result: queue.SimpleQueue = queue.SimpleQueue()

    def run() -> None:
        try:
            result.put((work(), None))
        except BaseException as error:  # whatever it is, it is raised where somebody waits
            result.put((None, error))

    threading.Thread(target=run, name="geograph-within", daemon=True).start()
    try:
        value, error = result.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"took longer than {seconds:.0f} seconds") from None
    if error is not None:
        raise error
    return value


def list_photos(folder: str | Path) -> list[Path]:
    """A folder's photos, as `scan_folder` finds them."""
    return scan_folder(folder)[0]


def scan_folder(folder: str | Path) -> tuple[list[Path], dict[str, int]]:
    """A folder's photos, found recursively and sorted, and what was passed over: reason → number of files.

    Photos are known by their suffix, in any case. What begins with a dot, and folders that machines make (@eaDir),
    hold none. A linked folder is looked into once, after the real ones; one that was seen already is not.

    Raises:
        ValueError: no such folder.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder of photos")
    heif = importlib.util.find_spec("pillow_heif") is not None
    suffixes = PHOTO_SUFFIXES | (HEIF_SUFFIXES if heif else set())
    photos: list[Path] = []
    passed: collections.Counter[str] = collections.Counter()
    waiting, links, seen = [Path(folder)], collections.deque(), set()
    while waiting or links:
        current = waiting.pop() if waiting else links.popleft()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                passed["linked folders that were seen already"] += 1
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            passed["folders that cannot be read"] += 1
            continue
        for entry in entries:
            path, suffix = current / entry.name, Path(entry.name).suffix.lower()
            hidden = entry.name.startswith(".") or entry.name.lower() in MACHINE_FOLDERS
            if entry.is_dir():
                if hidden:
                    passed["hidden folders"] += 1
                elif entry.is_symlink():
                    links.append(path)
                else:
                    waiting.append(path)
            elif hidden:
                passed["hidden files"] += 1
            elif not entry.is_file():
                passed["broken links and devices"] += 1
            elif suffix in suffixes:
                photos.append(path)
            else:
                passed["HEIC photos (pip install pillow-heif)" if suffix in HEIF_SUFFIXES else f"{suffix} files"] += 1
    passed = {("files without a suffix" if reason == " files" else reason): n for reason, n in passed.items()}
    return sorted(photos), dict(sorted(passed.items()))


def passed_over(passed: dict[str, int]) -> str:
    """What `scan_folder` passed over, as words: "3 .mov files, 2 hidden files"; "" where nothing was."""
    return ", ".join(f"{n:,} {reason if n > 1 else _one(reason)}" for reason, n in passed.items())


def _one(reason: str) -> str:
    words = reason.split(" ")
    return " ".join(word.removesuffix("s") if word in ("files", "folders", "photos") else word for word in words)


def what_is(head: bytes) -> str | None:
    """The first 64 bytes of a file that no decoder takes → what it is and what to do; None where that is not known."""
    if not head:
        return "empty (0 bytes); copy it again"
    if not head.strip(b"\0"):
        return "nothing but zero bytes, as an unfinished copy leaves; copy it again"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in HEIF_BRANDS:
            return NEEDS_HEIF
        if brand in (b"avif", b"avis"):
            return "AVIF, which this Pillow does not read; update Pillow, or save it as JPEG"
        return "a camera's raw file; save it as JPEG" if brand == b"crx " else "a film; save a still of it as JPEG"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for beginning, name in BEGINNINGS:
        if text[: len(beginning)].lower() == beginning.lower() or head.startswith(beginning):
            return None if beginning == b"RIFF" and head[8:12] == b"WEBP" else name
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "text, not a photo"
    return None


def name_of(head: bytes) -> str:
    """The format that a file begins as."""
    if head[4:8] == b"ftyp":
        return "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIC"
    return next((name for beginning, name in NAMES if head.startswith(beginning)), "photo")


# --- damage that decoders do not report -------------------------------------------------------------------------

# TIFF compressions whose decoder in libtiff says so where a strip ends too early; others leave memory as it was.
SOUND_COMPRESSIONS = {1, 5, 8, 32773, 32946, 34925, 50000}
JPEG_COMPRESSION = 7
COMPRESSION, ROWS_PER_STRIP, PLANAR = 259, 278, 284
STRIPS, TILES, TILE_SIZE = (273, 279), (324, 325), (322, 323)
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def check_tiff(image: Any, data: bytes) -> None:
    """Refuses a TIFF that libtiff would fill with whatever lay in memory before: it reports no error there.

    Args:
        image: Pillow's, not decoded. data: the whole file.

    Raises PhotoError: a strip or tile that is missing, lies outside the file, or is smaller than the picture needs; or
    a compression of which nobody can say so.
    """
    tags = image.tag_v2
    compression = tags.get(COMPRESSION, 1)
    if compression not in SOUND_COMPRESSIONS | {JPEG_COMPRESSION}:
        raise PhotoError(
            f"a TIFF of compression {compression} (faxes, old scanners), whose damage cannot be told; save it as PNG"
        )
    width, height = tags.get(256, 0), tags.get(257, 0)
    tiled = TILES[0] in tags
    offsets, counts = (_numbers(tags.get(tag)) for tag in (TILES if tiled else STRIPS))
    if tiled:
        across, down = (_number(tags.get(tag)) for tag in TILE_SIZE)
    else:
        across, down = width, min(_number(tags.get(ROWS_PER_STRIP, height)), height)
    if min(width, height, across, down) < 1:
        raise PhotoError("damaged TIFF: a size of zero")
    planes = tags.get(277, 1) if tags.get(PLANAR, 1) == 2 else 1
    needed = -(-width // across) * -(-height // down) * planes
    kind = "tile" if tiled else "strip"
    if len(offsets) < needed or (len(counts) < needed and compression != 1):
        raise PhotoError(f"damaged TIFF: it has {min(len(offsets), len(counts))} of its {needed} {kind}s")
    for i, (offset, count) in enumerate(zip(offsets[:needed], counts[:needed], strict=False)):
        if count < 1 or offset + count > len(data):
            raise PhotoError(f"damaged TIFF: {kind} {i + 1} of {needed} lies outside the file; copy it again")
        if compression == JPEG_COMPRESSION:
            rows = down if tiled else min(down, height - i % -(-height // down) * down)
            if not _jpeg_covers(data[offset : offset + count], across, rows):
                raise PhotoError(f"damaged TIFF: {kind} {i + 1} of {needed} is only partly there; copy it again")


def _numbers(value: Any) -> tuple[int, ...]:
    return () if value is None else tuple(value) if isinstance(value, tuple | list) else (value,)


def _number(value: Any) -> int:
    return (_numbers(value) or (0,))[0]


def _jpeg_covers(strip: bytes, width: int, height: int) -> bool:
    """Whether a JPEG stream's frame is as large as its strip, and its end is there."""
    for marker, start, end in jpeg_segments(strip):
        if marker in JPEG_FRAMES:
            high, wide = struct.unpack(">HH", strip[start + 1 : start + 5].ljust(4, b"\0"))
            return wide >= width and high >= height and b"\xff\xd9" in strip[end:]
    return False


def jpeg_segments(data: bytes):
    """The segments of a JPEG up to its end: marker, and where its content begins and ends."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # compressed data: on to the next marker that is neither stuffing nor a restart
            at = data.find(b"\xff", at)
            if at < 0:
                return
            continue
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in (0x00, 0x01, 0xD8) or 0xD0 <= marker <= 0xD7:
            at += 2
        elif marker == 0xD9:
            return
        else:
            length = struct.unpack(">H", data[at + 2 : at + 4])[0]
            yield marker, at + 4, at + 2 + max(length, 2)
            at += 2 + max(length, 2)


def all_bands(data: bytes) -> bool:
    """Whether a JPEG that was cut off has every frequency of its brightness at least coarsely; a baseline one has."""
    progressive, scans = False, []
    for marker, start, end in jpeg_segments(data):
        if marker in JPEG_FRAMES:
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            first = data[start + 6] if start + 6 < len(data) else 1  # the first component is the brightness
        elif marker == 0xDA and end <= len(data):
            parts = data[start:end]
            scans.append((first in parts[1 : 1 + 2 * parts[0] : 2], parts[-3], parts[-2]))
    if not progressive:
        return True
    seen = {band for bright, low, high in scans[:-1] if bright for band in range(low, high + 1)}
    return seen >= set(range(64))
