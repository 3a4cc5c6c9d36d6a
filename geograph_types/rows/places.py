"""The GPS tag of a photo → where it was taken."""

import io
import math
from pathlib import Path
from typing import Any

from degrees_geograph import degrees_of, is_in_ireland, point_of
from grid_geograph import GridPoint
from photos_geograph import identify

__all__ = ["degrees_of", "gps_of", "is_in_ireland", "point_of", "viewpoint_of", "viewpoint_or_note"]

# Exif: the GPS directory, and its latitude, longitude and their hemispheres.
GPS_DIRECTORY = 0x8825
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE = 1, 2, 3, 4


def gps_of(photo: Any) -> tuple[float, float] | None:
    """The GPS tag of a photo (a path, bytes, an open file or a PIL image) → latitude, longitude; None without one.

    Only the header is read. A tag that leaves something open says nothing: without N or S, E or W (most of Britain
    and all of Ireland lie west of Greenwich), with a zero denominator, or zero in both, as cameras write before they
    have a fix. What is broken in the photo says nothing either, and raises nothing: that is said when it is opened.
    """
    try:
        if isinstance(photo, str | Path):
            with Path(photo).open("rb") as file:
                return gps_of(file)
        if isinstance(photo, bytes | bytearray | memoryview):
            photo = io.BytesIO(photo)
        image = identify(photo)[0] if hasattr(photo, "read") else photo
        # While the file is open: a TIFF reads its directories as they are asked for.
        tags = dict(image.getexif().get_ifd(GPS_DIRECTORY))
    except Exception:  # Pillow has a different one for each way a block can be broken
        return None
    latitude = _degrees(tags.get(LATITUDE), tags.get(LATITUDE_REF), "NS", 90)
    longitude = _degrees(tags.get(LONGITUDE), tags.get(LONGITUDE_REF), "EW", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    return latitude, longitude


def viewpoint_or_note(photo: Any) -> tuple[GridPoint | None, str | None]:
    """Where a photo's GPS tag says that it was taken; where that is on neither grid, None and a note that says so."""
    if (place := gps_of(photo)) is None:
        return None, None
    try:
        return point_of(*place), None
    except ValueError:
        return None, f"its GPS tag ({place[0]:.4f}, {place[1]:.4f}) lies in neither Britain nor Ireland"


def viewpoint_of(photo: Any) -> GridPoint | None:
    """Where a photo's GPS tag says that it was taken; None without one, or outside both grids."""
    return viewpoint_or_note(photo)[0]


def _degrees(value: Any, hemisphere: Any, letters: str, limit: int) -> float | None:
    """Degrees, minutes and seconds as Exif has them (one to three rationals) → degrees; None where they are broken."""
    try:
        parts = [float(part) for part in (value if isinstance(value, tuple | list) else (value,))]
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not 1 <= len(parts) <= 3 or not all(map(math.isfinite, parts)) or any(part >= 60 for part in parts[1:]):
        return None
    degrees = sum(part / 60**i for i, part in enumerate(parts))
    if isinstance(hemisphere, bytes):
        hemisphere = hemisphere.decode("ascii", "replace")
    letter = str(hemisphere or "").strip("\0 ").upper()[:1]
    if min(parts) < 0 or degrees > limit or not letter or letter not in letters:
        return None
    return -degrees if letter == letters[1] else degrees
