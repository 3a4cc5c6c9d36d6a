"""What people write of a place → a point on the British or the Irish grid: the one parser of it.

as_point("TQ 300 804 [100m precision]")     as_point("51:30.3884N 0:7.6893W")     as_point("530000,180000")
"""

import re
import unicodedata
from collections.abc import Iterator

try:
    from .degrees_geograph import point_of
    from .grid_geograph import BRITISH, EXTENT, HUNDRED_KM, IRISH, GridPoint, format_grid_ref, parse_grid_ref
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from degrees_geograph import point_of
    from grid_geograph import BRITISH, EXTENT, HUNDRED_KM, IRISH, GridPoint, format_grid_ref, parse_grid_ref

FORMS = (
    'a grid reference ("TQ 3003 8048", "O 159 346"), latitude and longitude ("51.5074, -0.1283", '
    '"51:30.3884N 0:7.6893W") or easting and northing ("530000,180000")'
)
LONGEST = 200  # characters of one place

# The squares of 100 km that have land; the others of each grid are only sea.
# First letter → second letters.
LAND = {"H": "PTUWXYZ", "N": "ABCDFGHJKLMNORSTUWXYZ", "O": "V", "S": "CDEHJKMNOPRSTUVWXYZ", "T": "AFGLMQRV"}
BRITISH_LAND = {first + second for first, seconds in LAND.items() for second in seconds}
IRISH_LAND, IRISH_SEA = set("BCDFGHJLMNOQRSTVWXY"), set("AEKPUZ")


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
    seen = (c for c in text if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))
    return " ".join("".join(" " if c.isspace() else c for c in seen).split())


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
    reference = found.pop()
    letters = reference.rstrip("0123456789").upper()
    name, land = ("British", BRITISH_LAND) if len(letters) == 2 else ("Irish", IRISH_LAND)
    if letters in (IRISH_SEA if len(letters) == 1 else ()) or (_exists(reference) and letters not in land):
        raise ValueError(f"{_short(text)}: square {letters} of the {name} grid is only sea")
    return parse_grid_ref(reference)


def _exists(reference: str) -> bool:
    try:
        parse_grid_ref(reference)
    except ValueError:
        return False
    return True


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
        halves = [half for half in re.split(r" *[,;/] *" if re.search(r"[,;/]", bare) else " ", bare) if half]
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


_ANGLE = re.compile(
    rf"([-+])? ?({_NUMBER})(?: ?[°: ] ?(?:({_NUMBER})(?: ?[': ] ?(?:({_NUMBER}) ?\"?)?)?)?)? ?([NSEW])?"
)


def _angle(text: str) -> tuple[float, int, bool] | None:
    """One angle → degrees, of how many numbers it was made, and whether it had a sign or letter."""
    match = _ANGLE.fullmatch(text.strip())
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
