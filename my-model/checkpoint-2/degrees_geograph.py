"""Latitude and longitude (WGS 84) ↔ metres on the British or the Irish grid. Plain arithmetic, nothing to install.

As the Geograph site computes them, by a Helmert shift and a transverse Mercator projection, so that they are the same
on every machine, whatever it has installed. How far that is from a survey: docs/places.md.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

try:
    from .grid_geograph import BRITISH, IRISH, GridPoint, format_grid_ref
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from grid_geograph import BRITISH, IRISH, GridPoint, format_grid_ref

# Ireland, roughly, as latitude and longitude: a line through the North Channel and the Irish Sea divides the islands,
# so that the Mull of Kintyre and Galloway stay British, and Rathlin and the Copelands Irish.
NORTH_CHANNEL = ((51.0, -6.0), (53.0, -5.4), (54.5, -5.3), (55.0, -5.55), (55.25, -5.95), (55.36, -6.1), (55.6, -6.9))
IRELAND = {"south": 51.2, "north": 55.6, "west": -11.0}

# Both islands with their coastal waters, some 15 km off every coast, half of the Strait of Dover, no Channel Islands.
WATERS = (
    (49.60, -7.00), (49.75, -4.00), (50.05, -3.00), (50.20, -1.20), (50.55, 0.30), (50.85, 1.15), (51.00, 1.45),
    (51.15, 1.62), (51.45, 1.75), (52.50, 2.05), (53.10, 1.70), (53.50, 1.00), (54.10, 0.40), (55.00, -0.90),
    (56.00, -1.30), (57.50, -1.20), (58.00, -1.30), (59.00, -1.90), (59.50, -1.20), (60.30, -0.30), (61.00, -0.30),
    (61.15, -1.20), (60.40, -2.80), (59.60, -3.60), (59.40, -4.80), (59.40, -5.80), (59.30, -6.60), (58.40, -8.90),
    (57.50, -9.10), (56.20, -8.40), (55.60, -9.00), (54.40, -10.70), (53.40, -10.90), (52.00, -11.00),
    (51.20, -10.50), (51.15, -8.00), (51.40, -6.40), (50.40, -6.90),
)  # fmt: skip


@dataclass(frozen=True)
class Datum:
    """A national grid: its ellipsoid, projection, and the Helmert shift from WGS 84 (Ordnance Surveys' figures)."""

    semi_major: float  # metres
    semi_minor: float
    scale: float
    latitude: float  # degrees of the true origin
    longitude: float
    easting: float  # metres of the true origin
    northing: float
    shift: tuple[float, float, float]  # metres
    turn: tuple[float, float, float]  # seconds of arc, position vector convention
    stretch: float  # parts per million


DATUMS = {
    BRITISH: Datum(
        6377563.396, 6356256.910, 0.9996012717, 49, -2, 400_000, -100_000,
        (-446.448, 125.157, -542.060), (-0.1502, -0.2470, -0.8421), 20.4894,
    ),
    IRISH: Datum(
        6377340.189, 6356034.447, 1.000035, 53.5, -8, 200_000, 250_000,
        (-482.530, 130.596, -564.557), (1.042, 0.214, 0.631), -8.150,
    ),
}  # fmt: skip
WGS84_AXES = 6378137.0, 6356752.3142


def point_of(latitude: float, longitude: float) -> GridPoint:
    """Degrees (WGS 84) → metres on the grid of that island, to 1 m, as the site computes them.

    Accuracy: docs/places.md.

    Raises:
        ValueError: no degrees, or a place that is on neither grid.
    """
    for name, value, limit in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= limit:
            raise ValueError(f"{name} must be degrees between -{limit} and {limit}, got {value!r}")
    if not _inside(latitude, longitude, WATERS):
        here = f"{latitude:.6g}, {longitude:.6g}"
        if _inside(longitude, latitude, WATERS):
            raise ValueError(
                f"{here} lies in neither Britain nor Ireland; latitude comes first: {longitude:.6g}, {latitude:.6g}?"
            )
        if _inside(latitude, -longitude, WATERS):
            raise ValueError(f"{here} lies in neither Britain nor Ireland; a longitude west of Greenwich is negative")
        raise ValueError(f"{here} lies in neither Britain nor Ireland")
    grid = IRISH if is_in_ireland(latitude, longitude) else BRITISH
    east, north = project(latitude, longitude, grid)
    point = GridPoint(grid, math.floor(east), math.floor(north), 1)
    format_grid_ref(point)  # on the grid; else a ValueError
    return point


def degrees_of(point: GridPoint) -> tuple[float, float]:
    """A point → latitude and longitude (WGS 84) of its cell's south-west corner: the inverse of `point_of`."""
    datum = DATUMS[point.grid]
    latitude = datum.latitude + (point.northing - datum.northing) / 111_200
    longitude = datum.longitude + (point.easting - datum.easting) / 111_200 / math.cos(math.radians(latitude))
    for _ in range(12):
        east, north = project(latitude, longitude, point.grid)
        latitude += (point.northing - north) / 111_200
        longitude += (point.easting - east) / 111_200 / math.cos(math.radians(latitude))
    return latitude, longitude


def is_in_ireland(latitude: float, longitude: float) -> bool:
    """Whether a place belongs to the Irish Grid; the Isle of Man is on the British one, as on the site."""
    if not (IRELAND["south"] <= latitude <= IRELAND["north"] and longitude >= IRELAND["west"]):
        return False
    for (south, west), (north, east) in pairwise(NORTH_CHANNEL):
        if south <= latitude <= north:
            share = (latitude - south) / (north - south)
            return longitude < west + share * (east - west)
    return False


def project(latitude: float, longitude: float, grid: str) -> tuple[float, float]:
    """Degrees → easting and northing: WGS 84 to Cartesian metres, shifted, to the grid's ellipsoid, projected.

    The formulas are those of the Ordnance Survey's "A guide to coordinate systems in Great Britain", annexes B and C.
    """
    datum = DATUMS[grid]
    a, b = WGS84_AXES
    phi, lam = math.radians(latitude), math.radians(longitude)
    radius = a / math.sqrt(1 - (1 - b * b / a / a) * math.sin(phi) ** 2)
    x, y, z = (
        radius * math.cos(phi) * math.cos(lam),
        radius * math.cos(phi) * math.sin(lam),
        radius * b * b / a / a * math.sin(phi),
    )
    rx, ry, rz = (math.radians(seconds / 3600) for seconds in datum.turn)
    grow = 1 + datum.stretch * 1e-6
    x, y, z = (
        datum.shift[0] + grow * x - rz * y + ry * z,
        datum.shift[1] + rz * x + grow * y - rx * z,
        datum.shift[2] - ry * x + rx * y + grow * z,
    )
    a, b = datum.semi_major, datum.semi_minor
    e2, flat = 1 - b * b / a / a, math.hypot(x, y)
    phi = math.atan2(z, flat * (1 - e2))
    for _ in range(6):  # to less than a micrometre
        phi = math.atan2(z + e2 * a / math.sqrt(1 - e2 * math.sin(phi) ** 2) * math.sin(phi), flat)
    return _mercator(phi, math.atan2(y, x), datum)


def _mercator(phi: float, lam: float, datum: Datum) -> tuple[float, float]:
    """Radians on the grid's own ellipsoid → easting and northing."""
    a, b = datum.semi_major * datum.scale, datum.semi_minor * datum.scale
    e2, n = 1 - b * b / a / a, (a - b) / (a + b)
    phi0 = math.radians(datum.latitude)
    s, c, t = math.sin(phi), math.cos(phi), math.tan(phi) ** 2
    nu = a / math.sqrt(1 - e2 * s * s)
    rho = nu * (1 - e2) / (1 - e2 * s * s)
    eta = nu / rho - 1
    less, more = phi - phi0, phi + phi0
    arc = b * (
        (1 + n + 1.25 * n**2 + 1.25 * n**3) * less
        - (3 * n + 3 * n**2 + 2.625 * n**3) * math.sin(less) * math.cos(more)
        + 1.875 * (n**2 + n**3) * math.sin(2 * less) * math.cos(2 * more)
        - 35 / 24 * n**3 * math.sin(3 * less) * math.cos(3 * more)
    )
    d = lam - math.radians(datum.longitude)
    north = (
        datum.northing
        + arc
        + nu / 2 * s * c * d**2
        + nu / 24 * s * c**3 * (5 - t + 9 * eta) * d**4
        + nu / 720 * s * c**5 * (61 - 58 * t + t * t) * d**6
    )
    east = (
        datum.easting
        + nu * c * d
        + nu / 6 * c**3 * (nu / rho - t) * d**3
        + nu / 120 * c**5 * (5 - 18 * t + t * t + 14 * eta - 58 * t * eta) * d**5
    )
    return east, north


def _inside(latitude: float, longitude: float, polygon: tuple[tuple[float, float], ...]) -> bool:
    inside = False
    for (south, west), (north, east) in pairwise((*polygon, polygon[0])):
        if (south > latitude) != (north > latitude):
            inside ^= longitude < west + (latitude - south) / (north - south) * (east - west)
    return inside
