"""Photos of every kind that people have, made from a seed: landscapes of smooth sky, hills and fine texture."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION_TAG = 274  # EXIF: how the camera was held, 1 to 8


def landscape(width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """An RGB photo with the statistics of one: most energy in coarse shapes, some in each finer octave."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 9):  # 4 to 256 cells across
        cells = 2**octave
        coarse = rng.integers(0, 256, (max(1, cells * height // max(width, 1)), cells, 3), dtype=np.uint8)
        layer = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        canvas += (np.asarray(layer, np.float32) - 127) * 0.75**octave * 1.6
    sky = np.linspace(60, -60, height, dtype=np.float32)[:, None, None] * np.float32([0.4, 0.6, 1.0])
    return Image.fromarray(np.clip(canvas + sky + 127, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, file_format: str = "JPEG", **options) -> bytes:
    """The bytes of a photo's file."""
    buffer = io.BytesIO()
    if file_format == "JPEG":
        options.setdefault("quality", 87)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def with_orientation(image: Image.Image, orientation: int) -> bytes:
    """A JPEG whose EXIF says how the camera was held."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return encoded(image, exif=exif)


def _palette_with_hole(image: Image.Image) -> bytes:
    palette = image.quantize(64)
    return encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))


def _alpha(image: Image.Image) -> Image.Image:
    ramp = np.linspace(0, 255, image.width, dtype=np.uint8)
    image = image.copy()
    image.putalpha(Image.fromarray(np.broadcast_to(ramp, (image.height, image.width)).copy()))
    return image


def _sixteen_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def _animated(image: Image.Image, file_format: str) -> bytes:
    frames = [image.rotate(180), image.rotate(90)]
    return encoded(image, file_format, save_all=True, append_images=frames, duration=100)


# name of the file → its bytes, from an RGB landscape. All of them can be encoded.
GOOD: dict[str, Callable[[Image.Image], bytes]] = {
    "plain.jpg": encoded,
    "progressive.jpeg": lambda image: encoded(image, progressive=True),
    "grey.jpg": lambda image: encoded(image.convert("L")),
    "cmyk.jpg": lambda image: encoded(image.convert("CMYK")),
    "rotated.JPG": lambda image: with_orientation(image, 6),
    "large.jpg": lambda image: encoded(image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)),
    "plain.png": lambda image: encoded(image, "PNG"),
    "alpha.png": lambda image: encoded(_alpha(image), "PNG"),
    "grey_alpha.png": lambda image: encoded(_alpha(image).convert("LA"), "PNG"),
    "palette.png": lambda image: encoded(image.quantize(64), "PNG"),
    "palette_hole.png": _palette_with_hole,
    "black_and_white.png": lambda image: encoded(image.convert("1"), "PNG"),
    "sixteen_bit.png": lambda image: encoded(_sixteen_bit(image), "PNG"),
    "sixteen_bit.tif": lambda image: encoded(_sixteen_bit(image), "TIFF"),
    "plain.tiff": lambda image: encoded(image, "TIFF"),
    "plain.bmp": lambda image: encoded(image, "BMP"),
    "plain.webp": lambda image: encoded(image, "WEBP"),
    "animated.gif": lambda image: _animated(image, "GIF"),
    "animated.webp": lambda image: _animated(image, "WEBP"),
    "one_pixel_high.png": lambda image: encoded(image.crop((0, 0, image.width, 1)), "PNG"),
    "one_pixel.png": lambda image: encoded(image.crop((0, 0, 1, 1)), "PNG"),
}


def bomb() -> bytes:
    """A PNG of some hundred bytes that says it is 60,000 pixels wide and high."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


# name of the file → its bytes. None of them can be encoded.
BAD: dict[str, Callable[[Image.Image], bytes]] = {
    "cut_off.jpg": lambda image: encoded(image)[: int(len(encoded(image)) * 0.8)],
    "cut_off_progressive.jpg": lambda image: encoded(image, progressive=True)[: len(encoded(image)) // 4],
    "cut_off.png": lambda image: encoded(image, "PNG")[:-2000],
    "half.jpg": lambda image: encoded(image)[: len(encoded(image)) // 2],
    "bomb.png": lambda image: bomb(),
    "not_a_photo.jpg": lambda image: b"<html>The photo you asked for is not here</html>",
    "empty.jpg": lambda image: b"",
}


def make_photos(folder: str | Path, count: int, width: int = 640, height: int = 480, seed: int = 0) -> list[Path]:
    """`count` plain JPEGs in `folder`, each different, in sorted order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo_{i:05d}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded(landscape(width, height, seed + i)))
    return paths


def make_every_format(folder: str | Path, seed: int = 0, bad: bool = True) -> tuple[list[Path], list[Path]]:
    """One photo of each kind in `folder` → (those that can be encoded, those that cannot)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = landscape(seed=seed)
    for name, make in {**GOOD, **(BAD if bad else {})}.items():
        (folder / name).write_bytes(make(image))
    return [folder / name for name in GOOD], [folder / name for name in (BAD if bad else {})]


def photo_with_gps(path, latitude, latitude_ref, longitude, longitude_ref):
    """A small photo whose EXIF says where it was taken: degrees, minutes and seconds, and the letters of each."""
    image = Image.new("RGB", (8, 8))
    exif = image.getexif()
    exif.get_ifd(0x8825).update({1: latitude_ref, 2: latitude, 3: longitude_ref, 4: longitude})
    if path.suffix == ".tif":  # Pillow writes the directory into a TIFF only from bytes
        image.save(path.with_suffix(".jpg"), exif=exif)
        exif = Image.open(path.with_suffix(".jpg")).info["exif"]
    image.save(path, exif=exif)
    return path
