"""Latitude and longitude, and the GPS tags in a photo, → points on the British or the Irish grid."""

from functools import cache
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

from grid_geograph import BRITISH, IRISH, GridPoint, format_grid_ref

# British National Grid and Irish Grid (TM75); both from WGS 84, which GPS and maps on the web give.
EPSG = {BRITISH: 27700, IRISH: 29903}
WGS84 = 4326

# Ireland, roughly, as latitude and longitude: a line through the North Channel and the Irish Sea divides the islands,
# so that the Mull of Kintyre and Galloway stay British, and Rathlin and the Copelands Irish.
NORTH_CHANNEL = ((51.0, -6.0), (53.0, -5.4), (54.5, -5.3), (55.0, -5.55), (55.25, -5.95), (55.36, -6.1), (55.6, -6.9))
IRELAND = {"south": 51.2, "north": 55.6, "west": -11.0}

# Exif: the GPS directory, and its latitude, longitude and their hemispheres.
GPS_DIRECTORY = 0x8825
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE = 1, 2, 3, 4


def point_of(latitude: float, longitude: float) -> GridPoint:
    """Degrees (WGS 84) → metres on the grid of that island, to 1 m.

    Accuracy: pyproj's own transformation, within about 5 m of the Ordnance Surveys' unless their shift grids are
    installed.

    Raises:
        ValueError: no degrees, or a place that is on neither grid.
    """
    for name, value, limit in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= limit:
            raise ValueError(f"{name} must be degrees between -{limit} and {limit}, got {value!r}")
    grid = IRISH if is_in_ireland(latitude, longitude) else BRITISH
    east, north = _to_grid(grid).transform(longitude, latitude)
    try:
        point = GridPoint(grid, int(east // 1), int(north // 1), 1)
        format_grid_ref(point)
    except (ValueError, OverflowError):
        raise ValueError(f"{latitude}, {longitude} lies in neither Britain nor Ireland") from None
    return point


def is_in_ireland(latitude: float, longitude: float) -> bool:
    """Whether a place belongs to the Irish Grid; the Isle of Man is on the British one, as on the site."""
    if not (IRELAND["south"] <= latitude <= IRELAND["north"] and longitude >= IRELAND["west"]):
        return False
    for (south, west), (north, east) in pairwise(NORTH_CHANNEL):
        if south <= latitude <= north:
            share = (latitude - south) / (north - south)
            return longitude < west + share * (east - west)
    return False


@cache
def _to_grid(grid: str):
    from pyproj import Transformer, network

    network.set_network_enabled(False)  # the same answer with and without a connection
    return Transformer.from_crs(WGS84, EPSG[grid], always_xy=True)


def degrees_of(point: GridPoint) -> tuple[float, float]:
    """A point → latitude and longitude of its cell's south-west corner, WGS 84."""
    longitude, latitude = _to_grid(point.grid).transform(point.easting, point.northing, direction="INVERSE")
    return latitude, longitude


def gps_of(photo: Any) -> tuple[float, float] | None:
    """The GPS tag of a photo (a path, an open file or a PIL image) → latitude, longitude; None without a usable one.

    Only the header is read. Altitude does not matter; zero in both, which cameras write before they have a fix,
    counts as none.
    """
    from PIL import Image

    if isinstance(photo, str | Path) or hasattr(photo, "read"):
        with Image.open(photo) as image:
            exif = image.getexif()
    else:
        exif = photo.getexif()
    tags = exif.get_ifd(GPS_DIRECTORY)
    latitude = _degrees(tags.get(LATITUDE), tags.get(LATITUDE_REF), "S", 90)
    longitude = _degrees(tags.get(LONGITUDE), tags.get(LONGITUDE_REF), "W", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    return latitude, longitude


def viewpoint_of(photo: Any) -> GridPoint | None:
    """Where a photo's GPS tag says that it was taken; None without one, or outside both grids."""
    if (place := gps_of(photo)) is None:
        return None
    try:
        return point_of(*place)
    except ValueError:
        return None


def _degrees(value: Any, hemisphere: Any, negative: str, limit: int) -> float | None:
    """Degrees, minutes and seconds as Exif has them (three rationals) → degrees; None where they are broken."""
    try:
        parts = [float(part) for part in value]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not 1 <= len(parts) <= 3:
        return None
    degrees = sum(part / 60**i for i, part in enumerate(parts))
    if isinstance(hemisphere, bytes):
        hemisphere = hemisphere.decode("ascii", "replace")
    if not 0 <= degrees <= limit:  # also refuses NaN
        return None
    return -degrees if str(hemisphere or "").strip("\0 ").upper().startswith(negative) else degrees
