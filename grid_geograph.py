"""Grid references, metres, distance buckets, and whether two points stand in different squares.

British references have two letters (Ordnance Survey National Grid), Irish ones one (Irish Grid); coordinates are
metres, the south-west corner of the stated cell, never its centre. The two grids share no origin: coordinates of
one are never subtracted from the other's.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

try:
    from .names_geograph import NUM_DISTANCE_BUCKETS, UNKNOWN_BUCKET
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from names_geograph import NUM_DISTANCE_BUCKETS, UNKNOWN_BUCKET

BRITISH, IRISH = "GB", "IE"

# I is left out, as on both grids; five letters a row, from the north-west.
LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
HUNDRED_KM = 100_000
SQUARE = 1000  # metres: the site's squares
# Squares of 100 km that each grid has, eastwards and northwards.
EXTENT = {BRITISH: (7, 13), IRISH: (4, 5)}
# Digits of one coordinate → metres of the cell.
PRECISION = {1: 10_000, 2: 1000, 3: 100, 4: 10, 5: 1}

FARTHEST_BUCKET = UNKNOWN_BUCKET - 1  # 2^20 m and over

_REFERENCE = re.compile(r"\s*([A-Za-z]{1,2})\s*(\d+)(?:\s+(\d+))?\s*")


@dataclass(frozen=True)
class GridPoint:
    """A place: on which grid ("GB" or "IE"), metres east and north, and the metres of the stated cell.

    Unpacks as `easting, northing, precision`.
    """

    grid: str
    easting: int
    northing: int
    precision: int = 1

    def __iter__(self) -> Iterator[int]:
        return iter((self.easting, self.northing, self.precision))


def parse_grid_ref(text: str) -> GridPoint:
    """ "TQ 3003 8048" → the south-west corner of its cell, and how large that is.

    Two letters: British; one: Irish. 2, 4, 6, 8 or 10 digits say 10 km, 1 km, 100 m, 10 m or 1 m. Spaces and
    case do not matter.

    Raises:
        ValueError: not a grid reference, or a square that its grid does not have.
    """
    match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is no grid reference; expected such as "TQ 3003 8048" or "O 159 346"')
    letters, first, second = match[1].upper(), match[2], match[3]
    if second is None:
        half, odd = divmod(len(first), 2)
        first, second = first[:half], first[half:]
    else:
        odd = len(first) != len(second)
    if odd or len(first) not in PRECISION:
        raise ValueError(f"{text!r}: a grid reference has 2, 4, 6, 8 or 10 digits, half of them for each direction")
    grid = BRITISH if len(letters) == 2 else IRISH
    east, north = _corner(letters, text)
    precision = PRECISION[len(first)]
    return GridPoint(grid, east + int(first) * precision, north + int(second) * precision, precision)


def _corner(letters: str, text: str) -> tuple[int, int]:
    """Metres of a 100 km square's south-west corner."""
    if any(letter not in LETTERS for letter in letters):
        raise ValueError(f"{text!r}: grid letters leave I out")
    index = [LETTERS.index(letter) for letter in letters]
    east, north = index[-1] % 5, 4 - index[-1] // 5
    if len(letters) == 2:
        # The first letter counts squares of 500 km, from S at the false origin.
        east += (index[0] % 5 - LETTERS.index("S") % 5) * 5
        north += (LETTERS.index("S") // 5 - index[0] // 5) * 5
    columns, rows = EXTENT[BRITISH if len(letters) == 2 else IRISH]
    if not (0 <= east < columns and 0 <= north < rows):
        raise ValueError(f"{text!r}: the grid has no square {letters}")
    return east * HUNDRED_KM, north * HUNDRED_KM


def format_grid_ref(point: GridPoint, spaces: bool = True) -> str:
    """The reference of a point at its own precision; `parse_grid_ref` gives the point back.

    Raises:
        ValueError: outside the grid.
    """
    digits = next((n for n, precision in PRECISION.items() if precision == point.precision), None)
    if digits is None:
        raise ValueError(f"precision must be one of {sorted(PRECISION.values())} metres, got {point.precision!r}")
    east, within_east = divmod(int(point.easting), HUNDRED_KM)
    north, within_north = divmod(int(point.northing), HUNDRED_KM)
    columns, rows = EXTENT[point.grid]
    if not (0 <= east < columns and 0 <= north < rows):
        raise ValueError(f"{point.easting}, {point.northing} lies outside the {point.grid} grid")
    letters = LETTERS[(4 - north % 5) * 5 + east % 5]
    if point.grid == BRITISH:
        place = LETTERS.index("S") + east // 5 - north // 5 * 5
        letters = LETTERS[place] + letters
    parts = (letters, *(f"{value // point.precision:0{digits}d}" for value in (within_east, within_north)))
    return (" " if spaces else "").join(parts)


def square_of(point: GridPoint) -> str | None:
    """The 1 km square, such as "TQ3080"; None where the reference is coarser."""
    if point.precision > SQUARE:
        return None
    corner = GridPoint(point.grid, point.easting // SQUARE * SQUARE, point.northing // SQUARE * SQUARE, SQUARE)
    return format_grid_ref(corner, spaces=False)


def distance_between(subject: GridPoint | None, viewpoint: GridPoint | None) -> float | None:
    """Metres between the south-west corners, as the site computes it, with no allowance for precision.

    None where that cannot be said: a point is missing, the grids differ, or a reference is too coarse: a subject
    of 4 figures or fewer (the site stores none for it) or a viewpoint of 2 (a 4-figure viewpoint counts as its
    corner). Site rule; the official model was trained on these distances.
    """
    if subject is None or viewpoint is None or subject.grid != viewpoint.grid:
        return None
    if subject.precision >= SQUARE or viewpoint.precision > SQUARE:
        return None
    return math.hypot(subject.easting - viewpoint.easting, subject.northing - viewpoint.northing)


def bucket_of(distance: float | str | None) -> int:
    """Metres → bucket: 0 for none, i + 1 for 2^i metres and over (i = 0 … 20), 22 for None or "Unknown".

    Takes the source's strings too: "" is 0 m, "16" is 16 m.

    Raises:
        ValueError: below 0, not finite, or not a number.
    """
    if distance is None:
        return UNKNOWN_BUCKET
    if isinstance(distance, str):
        text = distance.strip()
        if text.lower() == "unknown":
            return UNKNOWN_BUCKET
        if not text:
            return 0
        distance = text
    try:
        metres = float(distance)
    except (TypeError, ValueError):
        raise ValueError(f'{distance!r} is no distance; expected metres, "Unknown" or ""') from None
    if not 0 <= metres < math.inf:
        raise ValueError(f"a distance is 0 metres or more, got {distance!r}")
    if metres < 1:
        return 0
    # frexp rather than log2: exact at every power of two.
    return min(math.frexp(metres)[1], FARTHEST_BUCKET)


def least_metres(bucket: int) -> float | None:
    """The least distance of a bucket; None of that which is not known."""
    return None if bucket == UNKNOWN_BUCKET else float(2 ** (bucket - 1)) if bucket else 0.0


def bucket_for(distance: Any, subject: GridPoint | None, viewpoint: GridPoint | None) -> int:
    """The distance's bucket: as given, else between the two points, else Unknown.

    What is left blank is not given: None, "" and NaN, in a call, a form or a cell of a table of photos. (In a row with
    a vector "" is zero metres, as the source writes it: that row's distance is read by its own rule.)
    """
    blank = distance is None or (isinstance(distance, str) and not distance.strip()) or distance != distance
    return bucket_of(distance_between(subject, viewpoint) if blank else distance)


def distance_bin(metres: float | str | None) -> str:
    """Metres → the official string: 2^floor(log2(d)), "" for 0, "Unknown" for None."""
    bucket = bucket_of(metres)
    return "Unknown" if bucket == UNKNOWN_BUCKET else "" if bucket == 0 else str(2 ** (bucket - 1))


def is_cross_grid(subject: GridPoint | None, viewpoint: GridPoint | None) -> bool | None:
    """Whether two points stand in different 1 km squares; None where that cannot be said. Site rule, no tolerance.

    A British and an Irish point are never in the same square; a missing point, or one coarser than 1 km, says
    nothing.
    """
    if subject is None or viewpoint is None:
        return None
    if subject.grid != viewpoint.grid:
        return True
    if max(subject.precision, viewpoint.precision) > SQUARE:
        return None
    return (subject.easting // SQUARE, subject.northing // SQUARE) != (
        viewpoint.easting // SQUARE,
        viewpoint.northing // SQUARE,
    )


def model_buckets(bucket, num_distance_buckets: int):
    """Standard buckets → those of a model with another number of them; NumPy arrays and torch tensors, any shape.

    The last one is always "not known"; a known distance beyond the model's farthest counts as its farthest.
    """
    if num_distance_buckets == NUM_DISTANCE_BUCKETS:
        return bucket
    known = bucket.clip(max=num_distance_buckets - 2)
    return known + (num_distance_buckets - 1 - known) * (bucket == UNKNOWN_BUCKET)
