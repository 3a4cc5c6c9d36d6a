"""Any photo → upright pixels, or one line that says what it is and why not.

A path, an address, bytes, a PIL image or an array becomes an upright RGB image, and that what CLIP sees of it: its
centre square, 224 × 224. The same bytes always give the same picture: what a decoder would leave half done is refused.
"""

import contextlib
import io
import logging
import re
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional as F

try:
    from .files_geograph import PhotoError, all_bands, check_tiff, list_photos, name_of, scan_folder, what_is, within
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from files_geograph import PhotoError, all_bands, check_tiff, list_photos, name_of, scan_folder, what_is, within

__all__ = [
    "Photo",
    "PhotoError",
    "identify",
    "list_photos",
    "open_photo",
    "resize_and_crop",
    "scan_folder",
    "site_thumbnail",
]

# Nothing that starts another program, as EPS does. HEIF is there where pillow-heif is installed.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "HEIF")
PIXEL_LIMIT = 1024**3 // 4 // 3  # of what is decoded, known from the header; from here on Pillow itself warns
# A JPEG is decoded at an eighth of its edges; a progressive one keeps all its coefficients in memory, though.
JPEG_LIMIT, PROGRESSIVE_LIMIT = 1024**3, 1024**3 // 4
DOWNLOAD_LIMIT = 256 * 1024**2  # bytes of one photo from an address
DOWNLOAD_TIMEOUT = 20  # seconds without a byte
DOWNLOAD_SECONDS = 120  # for a whole photo: a server may send a byte now and then
HTTP_HANDLERS = [f"HTTP{name}" for name in ("Handler", "SHandler", "DefaultErrorHandler", "RedirectHandler")]
HTTP_HANDLERS += ["ProxyHandler", "UnknownHandler", "HTTPErrorProcessor"]
# A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size where this many times the pixels that CLIP sees are left:
# the resizing that follows then hides the difference.
DRAFT_GAP = 2
QUIET = re.compile(r"PIL\.")  # modules whose warnings would run through a progress bar
END_OF_IMAGE = b"\xff\xd9"
LOST_ROWS = 0.1  # of a JPEG that was cut off: with more of it missing it is refused
ORIENTATION = 0x0112
# EXIF orientation → how to turn the stored picture, and on which axes its padding then comes first.
TURNS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, True, False),
    3: (Image.Transpose.ROTATE_180, True, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: (Image.Transpose.TRANSPOSE, False, False),
    6: (Image.Transpose.ROTATE_270, True, False),
    7: (Image.Transpose.TRANSVERSE, True, True),
    8: (Image.Transpose.ROTATE_90, False, True),
}


@dataclass
class Photo:
    """An upright picture, perhaps smaller than the photo.

    Attributes:
        image: RGB or grey ("L"). size: width and height of the photo itself, upright.
        box: where the photo lies in `image`: left, top, right, bottom, in its pixels. The edges of a reduced JPEG need
            not fall on whole pixels.
        note: what a person should know of it, else None.
    """

    image: Image.Image
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    note: str | None = None


def open_photo(photo: Any, shrink_to: int | None = None, urls: bool = True) -> Photo:
    """Any photo → an upright image, RGB or grey ("L"); on white where transparent; the first frame of an animation.

    Args:
        photo: path, http(s) address, bytes of a file, PIL image, or array [H, W] or [H, W, 1, 3 or 4] of uint8,
            uint16 (full range), bool or float (0 to 1).
        shrink_to: a JPEG may come out smaller, no edge shorter than twice this many pixels.
        urls: whether an address may be fetched.

    Raises PhotoError: the photo's name, what is wrong, what to do.
    """
    try:
        return _open(photo, shrink_to, urls)
    except Exception as error:  # Pillow has a different one for each way a file can be broken
        reason = reason_of(error)
        raise PhotoError(f"{describe(photo)}: {reason}", reason) from error


def _open(photo: Any, shrink_to: int | None, urls: bool) -> Photo:
    note = None
    if isinstance(photo, Image.Image):
        image = photo  # the caller's, never changed
        _check_size(image.size)
        image.load()
        size, box = image.size, (0, 0, *image.size)
    elif isinstance(photo, np.ndarray):
        image = _from_array(photo)
        size, box = image.size, (0, 0, *image.size)
    else:
        image, size, box, note = _decode(_read(photo, urls), shrink_to)
    orientation = 1
    with contextlib.suppress(Exception):  # a broken EXIF block says nothing; the photo itself is fine
        orientation = image.getexif().get(ORIENTATION, 1)
    if orientation in TURNS:
        how, right, bottom = TURNS[orientation]
        image = image.transpose(how)
        if orientation >= 5:
            size, box = size[::-1], (box[1], box[0], box[3], box[2])
        left, top = (image.width - box[2]) * right, (image.height - box[3]) * bottom
        box = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    return Photo(_to_rgb(image), size, box, note)


def _decode(data: bytes, shrink_to: int | None) -> tuple[Image.Image, tuple, tuple, str | None]:
    """A file's bytes → the decoded image, the photo's size, where it lies in the image, a note."""
    image, kind = identify(io.BytesIO(data))
    if kind != "JPEG":
        _check_size(image.size)
        if kind == "TIFF":
            check_tiff(image, data)
        image.load()
        return image, image.size, (0, 0, *image.size), None
    size, progressive = image.size, bool(image.info.get("progressive"))
    _check_size(size, PROGRESSIVE_LIMIT if progressive else JPEG_LIMIT)
    box = _draft(image, shrink_to)
    _check_size(image.size)
    try:
        image.load()
        return image, size, box, None
    except OSError as error:
        if "truncated" not in str(error):
            raise
    # Its end is missing. libjpeg fills what it does not find with grey, always the same.
    image, _ = identify(io.BytesIO(data + END_OF_IMAGE))
    _draft(image, shrink_to)
    image.load()
    lost = _grey_rows(image) / image.height
    if lost > LOST_ROWS or not all_bands(data):
        share = f"{lost:.0%} of the picture" if lost > LOST_ROWS else "much of its detail"
        raise PhotoError(f"truncated: {share} is missing; copy it again")
    return image, size, box, "the file is cut short: its last rows or finest details are missing"


def _draft(image: Image.Image, shrink_to: int | None) -> tuple[float, float, float, float]:
    """Lets a JPEG be decoded smaller → where the photo then lies in the image."""
    width, height = image.size
    if shrink_to is None:  # whole, unless that were too much
        divisor = next((s for s in (1, 2, 4) if width * height <= PIXEL_LIMIT * s * s), 8)
        target = (max(width // divisor, 1), max(height // divisor, 1))
    else:
        target = (shrink_to * DRAFT_GAP, shrink_to * DRAFT_GAP)
    drafted = image.draft(None, target)
    return (0, 0, width, height) if drafted is None else drafted[1]


def _grey_rows(image: Image.Image) -> int:
    """How many rows at the bottom are nothing but the grey of missing data."""
    pixels = np.asarray(image).reshape(image.height, -1)
    missing = (np.abs(pixels.astype(np.int16) - 128) <= 1).all(axis=1)
    return int(np.argmin(missing[::-1])) if not missing.all() else image.height


def identify(file: BinaryIO) -> tuple[Image.Image, str]:
    """An open file → Pillow's image of it, not decoded, and the format's name.

    As `Image.open`, but without its limit on pixels, which counts a JPEG's before they are reduced.

    Raises PhotoError: what it is, and what to do.
    """
    _prepare()
    file.seek(0)
    head = file.read(64)
    broken: Exception | None = None
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        taken = factory is not None and (accept is None or accept(head[:16]))
        if not taken or isinstance(taken, str):  # a string says why not
            continue
        try:
            file.seek(0)
            return factory(file, ""), name
        except Exception as error:  # the plugins raise a dozen kinds
            broken = error
    known = what_is(head)
    if known is None and broken is not None:
        known = f"damaged {name_of(head)} ({_line(broken)}); copy it again"
    raise PhotoError(known or "not a photo in a known format; save it as JPEG or PNG")


def _prepare() -> None:
    """Pillow knows all its formats, HEIF too where pillow-heif is installed, and says nothing on the terminal."""
    Image.init()  # a no-op from the second time on
    if "HEIF" not in Image.OPEN:
        try:
            import pillow_heif

            pillow_heif.register_heif_opener()
        except ImportError:
            pass
    if ("ignore", None, Warning, QUIET, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=QUIET.pattern)
    log = logging.getLogger("PIL")
    if not log.handlers:
        log.addHandler(logging.NullHandler())


def _check_size(size: tuple[int, int], limit: int = PIXEL_LIMIT) -> None:
    if min(size) < 1:
        raise PhotoError("damaged: it has no pixels")
    if size[0] * size[1] > limit:
        way = "make it smaller" if limit != PIXEL_LIMIT else "save it as JPEG, which is read at an eighth, or smaller"
        raise PhotoError(
            f"{size[0]} x {size[1]} pixels are too many (at most {limit // 10**6} million are decoded): {way}"
        )


def resize_and_crop(photo: Photo, size: int, resample: int = Image.Resampling.BICUBIC) -> np.ndarray:
    """CLIP's geometry: the shorter edge becomes `size`, the centre square is kept → uint8 [size, size, 3].

    It is that of the photo: a reduced picture is laid under the same grid.
    """
    image, (full_width, full_height) = photo.image, photo.size
    short, long = sorted(photo.size)
    resized_long = int(size * long / short)  # rounded as CLIPImageProcessor does
    width, height = (resized_long, size) if full_width > full_height else (size, resized_long)
    left, top = (width - size) // 2, (height - size) // 2
    exact = photo.box == (0, 0, *image.size)
    plain = image.mode == "RGB" and resample == Image.Resampling.BICUBIC
    if plain and exact and resized_long < 3 * size < 9 * min(image.size):
        # Pillow's own filter in vector instructions: a third of the time, at most one grey level apart.
        whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        whole = F.interpolate(whole, (height, width), mode="bicubic", antialias=True)
        return whole[0, :, top : top + size, left : left + size].permute(1, 2, 0).numpy()
    # Only what is kept is computed: a photo of one pixel's height would be 100,000 wide otherwise.
    x, y = (photo.box[2] - photo.box[0]) / width, (photo.box[3] - photo.box[1]) / height
    box = (left * x, top * y, (left + size) * x, (top + size) * y)
    box = tuple(edge + photo.box[i % 2] for i, edge in enumerate(box))
    box = (*box[:2], min(box[2], image.width), min(box[3], image.height))  # the last bits of a float
    return np.array(image.resize((size, size), resample, box=box).convert("RGB"))


def site_thumbnail(photo: Photo, size: int = 224) -> Photo:
    """The site's thumbnail: centre square, resized, sharpened (100 %, radius 0.5, threshold 3), JPEG again.

    Its filter and JPEG quality are not published; bicubic and 85 stand in for them.
    """
    image, (left, top, right, bottom) = photo.image, photo.box
    edge = min(right - left, bottom - top)
    left, top = left + (right - left - edge) / 2, top + (bottom - top - edge) / 2
    box = (int(left), int(top), int(left) + edge, int(top) + edge) if photo.size == image.size else None
    square = image.convert("RGB").resize(
        (size, size), Image.Resampling.BICUBIC, box or (left, top, left + edge, top + edge)
    )
    buffer = io.BytesIO()
    square.filter(ImageFilter.UnsharpMask(radius=0.5, percent=100, threshold=3)).save(buffer, "JPEG", quality=85)
    thumbnail = Image.open(buffer).convert("RGB")
    return Photo(thumbnail, thumbnail.size, (0, 0, *thumbnail.size), photo.note)


def _read(photo: Any, urls: bool) -> bytes:
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if not isinstance(photo, str | Path):
        raise PhotoError("expected a path, an address, bytes, a PIL image or a NumPy array")
    if "://" not in str(photo) or isinstance(photo, Path):
        path = Path(photo)
        if path.exists() and not path.is_file():
            raise PhotoError("a folder, not a photo" if path.is_dir() else "not a file but a device or a pipe")
        return path.read_bytes()
    if not urls or not photo.lower().startswith(("http://", "https://")):
        raise PhotoError("only http and https are fetched" if urls else "addresses are not fetched here")
    try:
        return within(DOWNLOAD_SECONDS, lambda: _fetch(photo))
    except TimeoutError as error:
        raise PhotoError(f"did not arrive ({error}); download it first") from None


def _fetch(address: str) -> bytes:
    opener = urllib.request.OpenerDirector()  # build_opener's would follow a redirection to ftp
    for name in HTTP_HANDLERS:
        opener.add_handler(getattr(urllib.request, name)())
    with opener.open(address, timeout=DOWNLOAD_TIMEOUT) as answer:
        data = answer.read(DOWNLOAD_LIMIT + 1)
        missing = answer.length
    if len(data) > DOWNLOAD_LIMIT:
        raise PhotoError(f"more than {DOWNLOAD_LIMIT // 1024**2} MiB; download it first")
    if missing:
        raise PhotoError(f"only {len(data):,} of its {len(data) + missing:,} bytes arrived; try again")
    return data


def _from_array(array: np.ndarray) -> Image.Image:
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if 0 in array.shape or array.shape[2:] not in ((), (3,), (4,)) or array.ndim < 2:
        raise PhotoError("expected [H, W], or [H, W, C] with 1, 3 or 4 channels")
    white = {"u1": 255, "u2": 65535, "b1": 1, "f2": 1, "f4": 1, "f8": 1}.get(array.dtype.str[1:])
    if not white or not (array.min() >= 0 and array.max() <= white):  # NaN compares False
        raise PhotoError("expected uint8, uint16, bool or float from 0 to 1")
    return Image.fromarray(array if white == 255 else np.rint(array * (255 / white)).astype(np.uint8))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):  # whole numbers mean 16 bits; Pillow itself would cut them off
        grey = np.asarray(image, np.float32)
        scale = 255 / 65535 if image.mode != "F" else 255 if grey.max() <= 1 else 1
        return Image.fromarray(np.rint(np.clip(np.nan_to_num(grey) * scale, 0, 255)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def describe(photo: Any) -> str:
    """What a message calls a photo: its path or address where it has one."""
    if isinstance(photo, np.ndarray):
        return f"array {list(photo.shape)}"
    if isinstance(photo, str | Path):
        text = str(photo)
        return text if len(text) <= 200 else text[:150] + "…" + text[-40:]
    if isinstance(photo, bytes | bytearray | memoryview):
        return "photo"
    return getattr(photo, "filename", "") or type(photo).__name__


def reason_of(error: Exception) -> str:
    """One line: what is wrong with a photo, without its name."""
    if isinstance(error, PhotoError):
        return error.reason
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels; at most {PIXEL_LIMIT // 10**6} million are decoded"
    if getattr(error, "strerror", None):
        return error.strerror
    if isinstance(error, OSError) and not isinstance(error, urllib.error.URLError):
        return f"damaged ({_line(error)}); copy it again"
    return _line(error)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
