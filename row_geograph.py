"""What a source row says of one photo: its number, its distance, its vector. Each field's rule stands here, once.

The reader of JSONL, Parquet and CSV, the pipeline and the Space all take rows by these rules: what is unambiguous is
taken in any form that people write it in, what cannot be told is refused by a message that shows the value.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

try:
    from .grid_geograph import bucket_of
    from .names_geograph import EMBEDDING_DIM, UNKNOWN_BUCKET, UNKNOWN_DISTANCE
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from grid_geograph import bucket_of
    from names_geograph import EMBEDDING_DIM, UNKNOWN_BUCKET, UNKNOWN_DISTANCE

MAX_ID = 2**63 - 1
EXACT_FLOAT = 2**53  # above it a float stands for several whole numbers

# Distances as the source writes them; the place is the bucket, but for the last: "0" is bucket 0, as "" is.
DISTANCES = ("", *(str(2**i) for i in range(UNKNOWN_BUCKET - 1)), UNKNOWN_DISTANCE, "0")
DISTANCE_CODES = {text: code for code, text in enumerate(DISTANCES)}
ZERO = DISTANCE_CODES["0"]

# A row's vector has this name in published rows, or that of the source.
EMBEDDING_NAMES = ("embedding", "embeddings")

# How much of a value a message shows.
SHOWN = 60

_WHOLE = re.compile(r"(\d{1,25})(?:\.0*)?", re.ASCII)
_METRES = re.compile(r"\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def shown(value: object) -> str:
    """A value as a message shows it: with its quotes, on one line, and cut."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, str | bytes):
        text = repr(value[: SHOWN + 1])
    elif isinstance(value, Mapping | list | tuple | set | np.ndarray) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)}"
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN + 2 else f"{text[:SHOWN]}…"


def plain(value: Any) -> Any:
    """A number of numpy or torch as Python's own; anything else as it is."""
    if type(value) in (str, int, float, bool, type(None)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


def parse_id(value: object) -> int:
    """A photo's number: 7706259, "7706259" (as exports of databases write it) or 7706259.0.

    Raises:
        ValueError: not a whole number from 1 to 2^63 - 1.
    """
    if type(value) is int and 0 < value <= MAX_ID:
        return value
    value, number = plain(value), None
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value.strip())):
        number = int(match[1])
    elif isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
    elif isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        number = int(value) if isinstance(value, Decimal) or value <= EXACT_FLOAT else None
    if number is None or not 0 < number <= MAX_ID:
        raise ValueError(f"bad gridimage_id {shown(value)}; expected a whole number above 0")
    return number


def is_blank(value: object) -> bool:
    """Whether a value says nothing: None, or NaN, as pandas writes what is missing."""
    return value is None or (isinstance(value, float | Decimal | np.floating) and value != value)


def distance_code(value: object, null: str = "", floored: bool = False) -> int:
    """A source's distance → index into `DISTANCES`.

    "", 0 and null are zero metres and "Unknown" (any case) and NaN are not known; blanks around do not count; 16,
    16.0, "16" and "16.0" are the same.

    Args:
        null: what None stands for: "" in JSON, "Unknown" in Parquet, as the official loader reads it.
        floored: whether other metres are floored to a power of two (what is to be predicted), or refused (training
            rows, whose distances were floored at the source).

    Raises:
        ValueError: no distance.
    """
    if value is None:
        return DISTANCE_CODES[null]
    code = DISTANCE_CODES.get(value) if type(value) is str else None
    return _other_distance(value, floored) if code is None else code


def _other_distance(value: object, floored: bool) -> int:
    value = plain(value)
    text = value.strip() if isinstance(value, str) else value
    if text == "":
        return DISTANCE_CODES[""]
    if isinstance(value, float) and math.isnan(value):
        return UNKNOWN_BUCKET
    if isinstance(text, str):
        if text.lower() == UNKNOWN_DISTANCE.lower():
            return UNKNOWN_BUCKET
        text = text if _METRES.fullmatch(text) else None
    elif isinstance(value, bool) or not isinstance(value, Real | Decimal):
        text = None
    metres = float(text) if text is not None else -1.0
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value.strip())):
        written = match[1]
    else:
        written = str(int(metres)) if math.isfinite(metres) and metres == int(metres) else ""
    code = DISTANCE_CODES.get(written) if written else None
    if code is None and floored and 0 <= metres < math.inf:
        code = ZERO if metres < 1 else bucket_of(metres)
    if code is None:
        expected = "metres from 0 up" if floored else "'', 0, a power of two up to 1048576"
        raise ValueError(f"impossible distance {shown(value)}; expected {expected}, or 'Unknown'")
    return code


def bucket_code(value: object) -> int:
    """A published row's `distance_bucket` → index into `DISTANCES`; None and NaN are Unknown.

    Raises:
        ValueError: not a whole number from 0 to 22.
    """
    if is_blank(value):
        return UNKNOWN_BUCKET
    value = plain(value)
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value.strip())):
        value = int(match[1])
    if isinstance(value, bool) or not isinstance(value, Real | Decimal) or value not in range(UNKNOWN_BUCKET + 1):
        raise ValueError(f"impossible distance_bucket {shown(value)}; expected 0 to {UNKNOWN_BUCKET}")
    return int(value)


def code_of_row(row: Mapping[str, Any], null: str = "", floored: bool = False) -> int:
    """The distance of a row, by `distance` or the published `distance_bucket`; Unknown where it has neither.

    Raises:
        ValueError: an impossible one, or two that contradict. (`floored`: beside a good bucket an impossible distance
            does not count, since what is to be predicted is refused only for what it needs.)
    """
    if "distance_bucket" not in row:
        return distance_code(row["distance"], null, floored) if "distance" in row else UNKNOWN_BUCKET
    bucket = bucket_code(row["distance_bucket"])
    if is_blank(row.get("distance")):
        return bucket
    known = not is_blank(row["distance_bucket"])
    try:
        code = distance_code(row["distance"], null, floored)
    except ValueError:
        if floored and known:
            return bucket
        raise
    if known and bucket_of_code(code) != bucket:
        raise ValueError(differing(row["distance"], bucket_of_code(code), bucket))
    return code


def differing(distance: object, meant: int, bucket: int) -> str:
    """What is said of a row whose distance means another bucket than its `distance_bucket`."""
    return f"distance {shown(distance)} is bucket {meant}, and distance_bucket says {bucket}; keep one"


def bucket_of_code(code: int) -> int:
    """Index into `DISTANCES` → bucket, 0 to 22."""
    return 0 if code == ZERO else code


def parse_embedding(value: Any, dim: int = EMBEDDING_DIM) -> np.ndarray:
    """A vector in any form that rows have → float32 [dim]; not checked for NaN by itself (see `check_vector`).

    Base64 of little-endian float32 (either alphabet, padded or not, with line breaks or without), these bytes
    themselves, a list or array of numbers (one list within a list, too), or such a list as text.

    Raises:
        ValueError: something else, or another width than `dim`.
    """
    if isinstance(value, str):
        text = value.strip()
        return _from_list(_list_in_text(text), dim) if text[:1] == "[" else _from_bytes(decode_base64(text), dim)
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value)
        if len(value) != 4 * dim and value.isascii() and value.strip():
            return parse_embedding(value.decode("ascii"), dim)
        return _from_bytes(value, dim)
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().float().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiu":
            raise ValueError(f"embeddings must be numbers, got an array of {value.dtype}")
        return _right_width(value[0] if value.ndim == 2 and len(value) == 1 else value, dim)
    if isinstance(value, list | tuple):
        return _from_list(value, dim)
    raise ValueError(f"embeddings must be base64 text or {dim} numbers, got {_kind_shown(value)}")


def _kind_shown(value: object) -> str:
    return "null" if value is None else f"{type(value).__name__} {shown(value)}"


def decode_base64(text: str) -> bytes:
    """Base64 → bytes: either alphabet, padded or not, line breaks and blanks do not count.

    Raises:
        ValueError: other characters, or a length that base64 cannot have.
    """
    compact = "".join(text.split()).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"embeddings are not base64: {shown(text)}") from None


def _from_bytes(data: bytes, dim: int) -> np.ndarray:
    if len(data) != 4 * dim:
        width = f" ({len(data) // 4} numbers)" if len(data) % 4 == 0 else ""
        raise ValueError(f"embeddings of a wrong length: {len(data)} bytes{width}, expected {4 * dim} ({dim} float32)")
    return np.frombuffer(data, "<f4")


def _list_in_text(text: str) -> list:
    """ "[0.1, 0.2]" or "[0.1 0.2]", as pandas, pgvector and numpy write lists."""
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = [float(number) for number in text.strip("[] ").replace(",", " ").split()]
        except ValueError:
            raise ValueError(f"embeddings are no list of numbers: {shown(text)}") from None
    return found if isinstance(found, list) else [found]


def _from_list(value: list | tuple, dim: int) -> np.ndarray:
    if len(value) == 1 and isinstance(value[0], list | tuple | np.ndarray):
        return parse_embedding(value[0], dim)
    for number in value:
        kind = type(number)
        if kind is not float and kind is not int and (not isinstance(number, Real) or kind is bool):
            raise ValueError(f"embeddings must be numbers, got {_kind_shown(number)} among them")
    try:
        return _right_width(np.array(value, dtype=np.float64), dim)
    except OverflowError:
        raise ValueError("embeddings hold numbers too large for float32") from None


def _right_width(vector: np.ndarray, dim: int) -> np.ndarray:
    if vector.shape != (dim,):
        found = f"{vector.size} numbers" if vector.ndim == 1 else f"shape {list(vector.shape)}"
        raise ValueError(f"embeddings of a wrong length: {found}, expected {dim}")
    with np.errstate(over="ignore"):
        return vector.astype("<f4", copy=False)


def vector_of_row(row: Mapping[str, Any], dim: int = EMBEDDING_DIM) -> np.ndarray:
    """The vector of a row, by its name `embedding` or `embeddings`; float32 [dim].

    Raises:
        ValueError: there is none, or as `parse_embedding`, or both names are there and say two things.
    """
    given = [name for name in EMBEDDING_NAMES if row.get(name) is not None]
    if not given:
        if any(name in row for name in EMBEDDING_NAMES):
            return parse_embedding(None, dim)
        raise ValueError("no embeddings")
    vector = parse_embedding(row[given[0]], dim)
    for name in given[1:]:
        if not np.allclose(vector, parse_embedding(row[name], dim), rtol=1e-5, atol=1e-6, equal_nan=True):
            raise ValueError(f"{given[0]} and {name} are two different vectors; keep one")
    return vector


# Lengths (L2 norms) of vectors: CLIP's projected features have 9 to 11, normalised ones have 1.
NORMALISED_BELOW = 2.0
ABSURD_NORM = 1e4


def look_normalised(norm: np.ndarray) -> np.ndarray:
    """bool [n]: whose length [n] is that of a normalised vector. All zeros are another fault (`vector_problems`)."""
    return (norm > 0) & (norm < NORMALISED_BELOW)


def most_look_normalised(norm: np.ndarray) -> bool:
    """Whether so many of these lengths [n] are a normalised vector's that the source is one of such vectors."""
    return 2 * np.count_nonzero(look_normalised(norm)) > len(norm)


def norms_of(embedding: np.ndarray) -> np.ndarray:
    """[n, dim] → float32 [n]; NaN or infinite where a vector holds such, or numbers too large to square."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.vecdot(embedding, embedding))


def vector_problems(embedding: np.ndarray, norm: np.ndarray) -> dict[int, str]:
    """Which vectors [n, dim] no photo can have, and why: NaN or infinity, all zeros, absurdly long ones."""
    with np.errstate(invalid="ignore"):
        odd = np.flatnonzero(~((norm > 0) & (norm <= ABSURD_NORM)))
    problems = {}
    for i in odd.tolist():
        if not np.isfinite(embedding[i]).all():
            problems[i] = "embeddings hold NaN or infinity"
        elif not embedding[i].any():
            problems[i] = "embeddings are all zeros"
        elif not norm[i] <= ABSURD_NORM:
            length = np.linalg.norm(embedding[i].astype(np.float64))
            problems[i] = f"embeddings of an absurd norm: {length:.3g}, expected about 10"
    return problems


def check_vector(vector: np.ndarray) -> np.ndarray:
    """A single vector [dim] as it is.

    Raises:
        ValueError: one that no photo can have.
    """
    if problems := vector_problems(vector[None], norms_of(vector[None])):
        raise ValueError(problems[0])
    return vector
