"""Any photo → upright pixels, or one line that says why not.

A path, an address, bytes, a PIL image or an array becomes an upright RGB image, and that what CLIP sees of it: its
centre square, 224 × 224.
"""

import contextlib
import io
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch.nn import functional as F

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp"}
# Nothing that starts another program, as EPS does.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
PIXEL_LIMIT = 1024**3 // 4 // 3  # judged by the header, before decoding; from here on Pillow itself warns
DOWNLOAD_LIMIT = 64 * 1024**2  # bytes of one photo from an address
DOWNLOAD_TIMEOUT = 20  # seconds without a byte
HTTP_HANDLERS = [f"HTTP{name}" for name in ("Handler", "SHandler", "DefaultErrorHandler", "RedirectHandler")]
HTTP_HANDLERS += ["ProxyHandler", "UnknownHandler", "HTTPErrorProcessor"]
# A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size where this many times the pixels that CLIP sees are left:
# the resizing that follows then hides the difference.
DRAFT_GAP = 2


class PhotoError(ValueError):
    """This photo cannot be encoded: one line with its name and the reason."""


def list_photos(folder: str | Path) -> list[Path]:
    """A folder's .jpg, .jpeg, .png, .gif, .webp, .tif, .tiff and .bmp files, any case, found recursively, sorted."""
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder of photos")
    return sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())


def open_photo(photo: Any, shrink_to: int | None = None, urls: bool = True) -> Image.Image:
    """Any photo → an upright image, RGB or grey ("L"); on white where transparent; the first frame of an animation.

    Args:
        photo: path, http(s) address, bytes of a file, PIL image, or array [H, W] or [H, W, 1, 3 or 4] of uint8,
            uint16 (full range), bool or float (0 to 1).
        shrink_to: a JPEG may come out smaller, no edge shorter than twice this many pixels.
        urls: whether an address may be fetched.

    Raises PhotoError or one of Pillow's many exceptions where it cannot be decoded.
    """
    own = not isinstance(photo, Image.Image)  # the caller's image is never changed
    if not own:
        image = photo
    elif isinstance(photo, np.ndarray):
        image = _from_array(photo)
    else:
        Image.init()  # else Pillow knows only its most usual formats; a no-op from the second time on
        formats = [name for name in FORMATS if name in Image.OPEN]
        image = Image.open(io.BytesIO(_read(photo, urls)), formats=formats)
    if min(image.size) < 1 or image.width * image.height > PIXEL_LIMIT:
        raise PhotoError(f"{describe(photo)}: {image.width} x {image.height} pixels; the limit is {PIXEL_LIMIT}")
    if own and shrink_to and image.format in ("JPEG", "MPO"):
        image.draft(None, (shrink_to * DRAFT_GAP, shrink_to * DRAFT_GAP))
    image.load()
    with contextlib.suppress(Exception):  # a broken EXIF block says nothing; the photo itself is fine
        image = ImageOps.exif_transpose(image, in_place=own) or image
    return _to_rgb(image)


def resize_and_crop(image: Image.Image, size: int, resample: int = Image.Resampling.BICUBIC) -> np.ndarray:
    """CLIP's geometry: the shorter edge becomes `size`, the centre square is kept → uint8 [size, size, 3]."""
    short, long = sorted(image.size)
    resized_long = int(size * long / short)  # rounded as CLIPImageProcessor does
    width, height = (resized_long, size) if image.width > image.height else (size, resized_long)
    left, top = (width - size) // 2, (height - size) // 2
    if image.mode == "RGB" and resample == Image.Resampling.BICUBIC and resized_long < 3 * size < 9 * short:
        # Pillow's own filter in vector instructions: a third of the time, at most one grey level apart.
        whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        whole = F.interpolate(whole, (height, width), mode="bicubic", antialias=True)
        return whole[0, :, top : top + size, left : left + size].permute(1, 2, 0).numpy()
    # Only what is kept is computed: a photo of one pixel's height would be 100,000 wide otherwise.
    x, y = image.width / width, image.height / height
    box = (left * x, top * y, (left + size) * x, (top + size) * y)
    return np.array(image.resize((size, size), resample, box=box).convert("RGB"))


def site_thumbnail(image: Image.Image, size: int = 224) -> Image.Image:
    """The site's thumbnail: centre square, resized, sharpened (100 %, radius 0.5, threshold 3), JPEG again.

    Its filter and JPEG quality are not published; bicubic and 85 stand in for them.
    """
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    square = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, (left, top, left + edge, top + edge))
    buffer = io.BytesIO()
    square.filter(ImageFilter.UnsharpMask(radius=0.5, percent=100, threshold=3)).save(buffer, "JPEG", quality=85)
    return Image.open(buffer).convert("RGB")


def _read(photo: Any, urls: bool) -> bytes:
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if not isinstance(photo, str | Path):
        raise PhotoError(f"{describe(photo)}: expected a path, an address, bytes, a PIL image or a NumPy array")
    if "://" not in str(photo) or isinstance(photo, Path):
        return Path(photo).read_bytes()
    if not urls or not photo.lower().startswith(("http://", "https://")):
        raise PhotoError(f"{photo}: {'only http and https are fetched' if urls else 'addresses are not fetched here'}")
    opener = urllib.request.OpenerDirector()  # build_opener's would follow a redirection to ftp
    for name in HTTP_HANDLERS:
        opener.add_handler(getattr(urllib.request, name)())
    with opener.open(photo, timeout=DOWNLOAD_TIMEOUT) as answer:
        data = answer.read(DOWNLOAD_LIMIT + 1)
    if len(data) > DOWNLOAD_LIMIT:
        raise PhotoError(f"{photo}: more than {DOWNLOAD_LIMIT} bytes")
    return data


def _from_array(array: np.ndarray) -> Image.Image:
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if 0 in array.shape or array.shape[2:] not in ((), (3,), (4,)) or array.ndim < 2:
        raise PhotoError(f"array {list(array.shape)}: expected [H, W], or [H, W, C] with 1, 3 or 4 channels")
    white = {"u1": 255, "u2": 65535, "b1": 1, "f2": 1, "f4": 1, "f8": 1}.get(array.dtype.str[1:])
    if not white or not (array.min() >= 0 and array.max() <= white):  # NaN compares False
        raise PhotoError(f"array {list(array.shape)}: expected uint8, uint16, bool or float from 0 to 1")
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
    if isinstance(photo, np.ndarray):
        return f"array {list(photo.shape)}"
    return str(photo) if isinstance(photo, str | Path) else getattr(photo, "filename", "") or type(photo).__name__


def reason_of(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "empty, or not a photo in a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels; the limit is {PIXEL_LIMIT}"
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
