"""What people write of a place → a point on the British or the Irish grid. Plain arithmetic, nothing to install.

    as_point("TQ 300 804 [100m precision]")     as_point("51:30.3884N 0:7.6893W")     as_point("530000,180000")

Degrees (WGS 84, as GPS and maps on the web give them) become metres as the Geograph site computes them: by a Helmert
shift and a transverse Mercator projection. They are the same on every machine, whatever it has installed.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

try:
    from .grid_geograph import BRITISH, EXTENT, HUNDRED_KM, IRISH, GridPoint, format_grid_ref, parse_grid_ref
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from grid_geograph import BRITISH, EXTENT, HUNDRED_KM, IRISH, GridPoint, format_grid_ref, parse_grid_ref

FORMS = (
    'a grid reference ("TQ 3003 8048", "O 159 346"), latitude and longitude ("51.5074, -0.1283", '
    '"51:30.3884N 0:7.6893W") or easting and northing ("530000,180000")'
)
LONGEST = 200  # characters of one place

# The squares of 100 km that have land; the others of each grid are only sea.
BRITISH_LAND = set(
    "HP HT HU HW HX HY HZ NA NB NC ND NF NG NH NJ NK NL NM NN NO NR NS NT NU NW NX NY NZ OV SC SD SE SH SJ SK SM SN "
    "SO SP SR SS ST SU SV SW SX SY SZ TA TF TG TL TM TQ TR TV".split()
)
IRISH_LAND = set("BCDFGHJLMNOQRSTVWXY")

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


def as_point(place: GridPoint | str | None) -> GridPoint | None:
    """What a person wrote of a place → its point; blank or None → None; a point as it is.

    Raises:
        ValueError: no place, or one that could be two; the line names the forms that are taken.
    """
    if place is None or isinstance(place, GridPoint):
        return place
    if place != place:  # NaN, which pandas writes for a blank cell
        return None
    if not isinstance(place, str):
        raise ValueError(f"a place is text, got {type(place).__name__}; write {FORMS}")
    text = _plain(place)
    return parse_place(text) if text else None


def parse_place(text: str) -> GridPoint:
    """A grid reference, degrees, or easting and northing, in the forms that people and the site write → its point.

    Brackets, dots and words around a reference do not count, nor do invisible characters. Raises as `as_point`.
    """
    text = _plain(text)
    if len(text) > LONGEST:
        raise ValueError(f"{_short(text)} is no place; write {FORMS}")
    for read in (_metres, _reference, _degrees):
        point = read(text)
        if point is not None:
            return point
    raise ValueError(f"{_short(text)} is no place; write {FORMS}")


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
    east, north = _project(latitude, longitude, grid)
    point = GridPoint(grid, math.floor(east), math.floor(north), 1)
    format_grid_ref(point)  # on the grid; else a ValueError
    return point


def degrees_of(point: GridPoint) -> tuple[float, float]:
    """A point → latitude and longitude (WGS 84) of its cell's south-west corner: the inverse of `point_of`."""
    datum = DATUMS[point.grid]
    latitude = datum.latitude + (point.northing - datum.northing) / 111_200
    longitude = datum.longitude + (point.easting - datum.easting) / 111_200 / math.cos(math.radians(latitude))
    for _ in range(12):
        east, north = _project(latitude, longitude, point.grid)
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


def _project(latitude: float, longitude: float, grid: str) -> tuple[float, float]:
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


# --- what people write ------------------------------------------------------------------------------------------

_ALIKE = str.maketrans({
    "º": "°", "˚": "°", "′": "'", "’": "'", "‘": "'", "´": "'", "ʹ": "'", "`": "'", "″": '"', "”": '"', "“": '"',
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-",
})  # fmt: skip
_NUMBER = r"\d+(?:\.\d+)?"
# Two letters or one, and digits: together, or in two halves with a blank, dot, comma, slash or dash between.
_CANDIDATE = re.compile(
    r"(?<![A-Za-z0-9])([A-Za-z]{1,2})[ .:/-]{0,2}"
    r"(?:(\d{1,5})(?:[.:/,-] ?| {1,3})(\d{1,5})|(\d{2,10}))(?![A-Za-z0-9]|[., ]\d)"
)
_AROUND = re.compile(r"\[?\(?\b(?:\d+ ?k?m )?precision\b\)?\]?", re.IGNORECASE)
_LABEL = re.compile(r"(?i)\b(?:os |national |irish )?grid ?ref(?:erence)?\b[:.= ]*")


def _plain(text: str) -> str:
    """Without invisible characters, with one kind of dash, quote and blank."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    text = unicodedata.normalize("NFKC", text.translate(_ALIKE)).translate(_ALIKE)
    text = "".join(" " if c.isspace() else c for c in text if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace())
    return " ".join(text.split())


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _references(text: str, alone: bool) -> Iterator[str]:
    """What in a text can be a grid reference. Among other words short ones are not: "A 1234" is a road, too."""
    for match in _CANDIDATE.finditer(text):
        letters, first, second, joined = match.groups()
        if joined is None and len(first) != len(second):
            if alone:
                raise ValueError(
                    f"{_short(text)}: a grid reference has 2, 4, 6, 8 or 10 digits, half of them for each direction"
                )
            continue
        digits = joined or first + second
        if alone or (letters.isupper() and len(digits) % 2 == 0 and len(digits) >= (4 if len(letters) == 2 else 6)):
            yield letters + digits


def _reference(text: str) -> GridPoint | None:
    bare = _LABEL.sub("", _AROUND.sub("", text)).strip(" []().,;:\"'")
    alone = _CANDIDATE.fullmatch(bare) is not None and not re.match(r"[NSEWnsew] ?\d+[.]\d", bare)
    found = set(_references(bare, alone))
    if not alone:
        if re.search(r"\d\s*[°'\"]|\d ?[NSEW]\b(?! ?\d{2,})", text):
            return None  # degrees
        found = {reference for reference in found if _exists(reference)}
    if len(found) > 1:
        raise ValueError(f"{_short(text)} names {len(found)} grid references; write one")
    if not found:
        return None
    point = parse_grid_ref(found.pop())
    _must_have_land(point, text)
    return point


def _exists(reference: str) -> bool:
    try:
        parse_grid_ref(reference)
    except ValueError:
        return False
    return True


def _must_have_land(point: GridPoint, text: str) -> None:
    corner = GridPoint(point.grid, point.easting, point.northing, 10_000)
    letters = format_grid_ref(corner, spaces=False)[:-2]
    if letters not in (BRITISH_LAND if point.grid == BRITISH else IRISH_LAND):
        name = "British" if point.grid == BRITISH else "Irish"
        raise ValueError(f"{_short(text)}: square {letters} of the {name} grid is only sea")


_EAST_NORTH = re.compile(
    r"(?i)(?P<e1>E|easting)?[ :=]*(?P<east>\d{4,7})(?:\.\d+)? ?(?:(?P<e2>mE|E)|m)?[ ,;/]+"
    r"(?P<n1>N|northing)?[ :=]*(?P<north>\d{4,7})(?:\.\d+)? ?(?:(?P<n2>mN|N)|m)?"
)


def _metres(text: str) -> GridPoint | None:
    """Easting and northing in whole metres."""
    named = re.search(r"(?i)\b(british|osgb(?:36)?|gb|bng|irish|ie|ig|itm|utm)\b", text)
    bare = re.sub(r"(?i)\b(?:british|osgb(?:36)?|gb|bng|irish|ie|ig|itm|utm|grid)\b:?", " ", text).strip(" []().;:,")
    match = _EAST_NORTH.fullmatch(bare)
    if match is None or bool(match["e1"] or match["e2"]) != bool(match["n1"] or match["n2"]):
        return None
    name = named[1].lower() if named else ""
    if name in ("itm", "utm"):
        raise ValueError(f"{_short(text)}: coordinates in {name.upper()} are not taken; write {FORMS}")
    east, north = int(match["east"]), int(match["north"])
    points = [GridPoint(grid, east, north, 1) for grid in (BRITISH, IRISH)]
    if name:
        points = points[:1] if name in ("british", "osgb", "osgb36", "gb", "bng") else points[1:]
    points = [point for point in points if _on_land_square(point)]
    if len(points) == 2:
        raise ValueError(
            f"{_short(text)} lies on the British and on the Irish grid; say which (British {east},{north}) or write "
            f"{format_grid_ref(points[0])} or {format_grid_ref(points[1])}"
        )
    if not points:
        raise ValueError(f"{_short(text)}: easting and northing of no place in Britain or Ireland")
    return points[0]


def _on_land_square(point: GridPoint) -> bool:
    columns, rows = EXTENT[point.grid]
    if not (point.easting < columns * HUNDRED_KM and point.northing < rows * HUNDRED_KM):
        return False
    letters = format_grid_ref(GridPoint(point.grid, point.easting, point.northing, 10_000), spaces=False)[:-2]
    return letters in (BRITISH_LAND if point.grid == BRITISH else IRISH_LAND)


_WORDS = (
    (r"(?i)\b(?:lat(?:itude)?|long?(?:itude)?|lng)\b\.?[ :=]*", ";"),
    (r"(?i)\bnorth\b", "N"), (r"(?i)\bsouth\b", "S"), (r"(?i)\beast\b", "E"), (r"(?i)\bwest\b", "W"),
    (r"(?i)(?<=[\d ])deg(?:rees?)?\b\.?|(?<=\d)d(?=[ \d])", "°"),
    (r"(?i)(?<=[\d ])min(?:utes?)?\b\.?|(?<=\d)m(?=[ \dNSEW])", "'"),
    (r"(?i)(?<=[\d ])sec(?:onds?)?\b\.?|''|(?<=\d)s(?= ?[NSEW])", '"'),
)  # fmt: skip


_PAIR = re.compile(r"(?<![\d.])([-+]?\d{1,3}\.\d{3,}) ?°?, ?([-+]?\d{1,3}\.\d{3,})(?![\d.])")


def _degrees(text: str) -> GridPoint | None:
    """Latitude and longitude, in this order unless letters or words say otherwise."""
    longitude_first = re.match(r"(?i)\W*(?:long?(?:itude)?|lng)\b", text) is not None
    bare = text.strip(" []()")
    for pattern, mark in _WORDS:
        bare = re.sub(pattern, mark, bare)
    if re.fullmatch(r" *-?\d{1,2},\d{3,}[ ;]+-?\d{1,3},\d{3,} *", bare):  # a comma for the decimal point
        bare = bare.replace(",", ".")
    bare = bare.strip(" ,;")
    if not re.fullmatch(r"[-+\d.,;:/°'\"NSEWnsew ]+", bare):
        pairs = set(_PAIR.findall(bare))  # among words, or in a map's address
        if len(pairs) != 1:
            return None
        bare = ",".join(pairs.pop())
    letters = re.findall(r"[NSEW]", bare.upper())
    if letters:
        halves = _by_letters(bare.upper(), letters)
    else:
        halves = [half for half in re.split(r" *[,;/] *", bare) if half] if re.search(r"[,;/]", bare) else bare.split(" ")
        if longitude_first and len(halves) == 2:
            halves = halves[::-1]
    angles = [_angle(half) for half in halves] if halves and len(halves) == 2 else []
    if len(angles) != 2 or None in angles:
        return None
    (latitude, parts, _), (longitude, more_parts, signed) = angles
    if not letters and max(parts, more_parts) > 1 and not signed:
        raise ValueError(f"{_short(text)} does not say whether the longitude is east or west; write E or W after it")
    try:
        return point_of(latitude, longitude)
    except ValueError as error:
        raise ValueError(f"{_short(text)}: {error}") from None


def _by_letters(text: str, letters: list[str]) -> list[str] | None:
    """Latitude and longitude, each with its letter at the end, from a text whose letters stand before or behind."""
    if len(letters) != 2 or len({letter in "NS" for letter in letters}) != 2:
        return None
    if text[0] in "NSEW":
        _, first, second = re.split(r"[NSEW]", text)
    elif text[-1] in "NSEW":
        first, second, _ = re.split(r"[NSEW]", text)
    else:
        return None
    halves = [half.strip(" ,;/") + letter for half, letter in zip((first, second), letters, strict=True)]
    return halves if letters[0] in "NS" else halves[::-1]


def _angle(text: str) -> tuple[float, int, bool] | None:
    """One angle → degrees, of how many numbers it was made, and whether it had a sign or letter."""
    match = re.fullmatch(
        rf"([-+])? ?({_NUMBER})(?: ?[°: ] ?(?:({_NUMBER})(?: ?[': ] ?(?:({_NUMBER}) ?\"?)?)?)?)? ?([NSEW])?", text.strip()
    )
    if match is None:
        return None
    sign, letter = match[1], match[5]
    numbers = [number for number in match.groups()[1:4] if number is not None]
    if (sign == "-" and letter) or any("." in number for number in numbers[:-1]):
        return None
    values = [float(number) for number in numbers]
    if any(value >= 60 for value in values[1:]):
        return None
    degrees = sum(value / 60**i for i, value in enumerate(values))
    return (-degrees if sign == "-" or letter in ("S", "W") else degrees), len(values), bool(sign or letter)
