"""Mutated photos, EXIF blocks and places: an answer or one plain line, and the same each time.

GEOGRAPH_FUZZ=10000 tries so many of each; without it a short part with a fixed seed.
"""

import io
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from geograph_types.rows.places import gps_of, viewpoint_or_note
from grid_geograph import GridPoint
from photos_geograph import PhotoError, open_photo, resize_and_crop
from places_geograph import as_point
from tests.support import photo_factory as factory

EXAMPLES = int(os.environ.get("GEOGRAPH_FUZZ", "40"))
fuzz = settings(
    max_examples=EXAMPLES,
    derandomize="GEOGRAPH_FUZZ" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SCENE = factory.landscape(96, 64, seed=3)
WITH_GPS = Image.Exif()
WITH_GPS.get_ifd(0x8825).update({1: "N", 2: (51, 30, 28), 3: "W", 4: (0, 7, 40)})
PHOTOS = {
    "jpeg": factory.encoded(SCENE, exif=WITH_GPS),
    "progressive": factory.encoded(SCENE, progressive=True),
    "png": factory.encoded(SCENE, "PNG", exif=WITH_GPS),
    "gif": factory.encoded(SCENE.quantize(32), "GIF"),
    "webp": factory.encoded(SCENE, "WEBP", exif=WITH_GPS),
    "bmp": factory.encoded(SCENE, "BMP"),
    "avif": factory.encoded(SCENE, "AVIF"),
    "jp2": factory.encoded(SCENE, "JPEG2000"),
    **{
        f"tiff {name}": factory.encoded(SCENE, "TIFF", compression=name)
        for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    },
}


@st.composite
def mutated(draw):
    """A photo with bytes changed, cut out, zeroed or cut off."""
    data = bytearray(PHOTOS[draw(st.sampled_from(sorted(PHOTOS)))])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["change", "cut", "zero", "end"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 200))]
            case "zero":
                end = min(len(data), at + draw(st.integers(1, 400)))
                data[at:end] = bytes(end - at)
            case "end":
                del data[max(at, len(data) // 2) :]
    return bytes(data)


def seen(photo: bytes):
    try:
        return resize_and_crop(open_photo(photo, shrink_to=224), 224).tobytes()
    except PhotoError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        return str(error)


@fuzz
@given(mutated())
def test_the_same_bytes_the_same_picture_or_one_line(photo):
    first = seen(photo)
    _ = [np.full(200_000, fill, np.uint8) for fill in (85, 170)]  # what freed memory then holds
    assert seen(photo) == first
    point, note = viewpoint_or_note(photo)
    assert point is None or isinstance(point, GridPoint)
    assert note is None or "neither Britain nor Ireland" in note


@fuzz
@given(st.binary(max_size=120))
def test_any_exif_block_says_something_or_nothing(block):
    buffer = io.BytesIO()
    SCENE.save(buffer, "PNG", exif=b"Exif\0\0" + block)
    place = gps_of(buffer.getvalue())
    assert place is None or (abs(place[0]) <= 90 and abs(place[1]) <= 180)
    assert open_photo(buffer.getvalue()).size in (SCENE.size, SCENE.size[::-1])


PIECES = [
    "TQ",
    "O",
    " ",
    "3080",
    "51.5074",
    "-0.1283",
    ",",
    "N",
    "W",
    "°",
    "'",
    '"',
    ":",
    "530000",
    "180000",
    "[",
    "]",
]
PIECES += ["100m precision", "\u200b", "lat", "lon", "British", "Irish", "51", "30", ".", "E", "near", "\n", "−", "Ⅷ"]


@settings(fuzz, max_examples=EXAMPLES * 3)
@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=9).map("".join), st.text(max_size=40)))
def test_any_text_is_a_place_or_one_line(text):
    try:
        point = as_point(text)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        return
    assert point is None or (point.easting >= 0 and point.northing >= 0)


@pytest.mark.skipif("GEOGRAPH_FUZZ" not in os.environ, reason="long: set GEOGRAPH_FUZZ=N")
@fuzz
@given(st.sampled_from(sorted(PHOTOS)), st.integers(1, 3000))
def test_cut_off_anywhere(name, missing):
    seen(PHOTOS[name][:-missing])
