"""Arrow columns → checked arrays: whole buffers where types and values are plain, else each field's own rule by value.

Each function notes what is wrong with a row in `problems` (place → reason, the first one counts); that row's value is
then a default. Nothing here stops at a bad row.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from names_geograph import TAGS, UNKNOWN_BUCKET
from row_geograph import EXACT_FLOAT, MAX_ID, parse_embedding, parse_id

Problems = dict[int, str]


def plain(array: pa.Array) -> pa.Array:
    """A column without what wraps it: chunks, extension types, dictionaries."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    return array


def column_of(array: np.ndarray) -> pa.Array:
    """Numbers [n] as an Arrow column that shares their memory. `pa.array` would import pandas, which takes longer than
    to write fifty thousand rows."""
    array = np.ascontiguousarray(array)
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), len(array), [None, pa.py_buffer(array)])


def numbers_of(array: pa.Array) -> np.ndarray:
    """A column of numbers as an array [n], its own memory where none is null (`to_numpy` would import pandas)."""
    kind = array.type
    if array.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return array.to_numpy(zero_copy_only=False)
    dtype = np.dtype(kind.to_pandas_dtype())
    if not len(array):
        return np.zeros(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def strings_of(texts: Sequence[str | None]) -> pa.Array:
    """Texts as an Arrow column, again without pandas."""
    encoded = [b"" if text is None else text.encode() for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    given = np.array([text is not None for text in texts], dtype=bool)
    valid = None if given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
    return pa.Array.from_buffers(
        pa.string(), len(texts), [valid, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def values_of(array: pa.Array) -> list[Any]:
    """Python values; what Arrow cannot decode (text that is not UTF-8) becomes None."""
    try:
        return array.to_pylist()
    except (UnicodeDecodeError, pa.ArrowException, OverflowError, ValueError):
        found = []
        for value in array:
            try:
                found.append(value.as_py())
            except (UnicodeDecodeError, pa.ArrowException, OverflowError, ValueError):
                found.append(None)
        return found


def filled(array: pa.Array, value: Any) -> pa.Array:
    """The column without nulls; `fill_null` would import pandas where there are none, too."""
    return array.fill_null(value) if array.null_count else array


def by_value(array: pa.Array, rule: Callable[[Any], Any], problems: Problems, default: Any) -> np.ndarray:
    """[n]: `rule` of each value, asked once for each different one."""
    try:
        encoded = array.dictionary_encode(null_encoding="encode")
        different, index = values_of(encoded.dictionary), numbers_of(encoded.indices)
    except (pa.ArrowException, AttributeError):  # nested types have no dictionary
        different, index = values_of(array), np.arange(len(array))
    results, reasons = [], {}
    for place, value in enumerate(different):
        try:
            results.append(rule(_text(value)))
        except (ValueError, IndexError, KeyError) as error:
            reasons[place] = str(error) or f"impossible value {value!r}"
            results.append(default)
    if reasons:
        for i in np.flatnonzero(np.isin(index, list(reasons))).tolist():
            problems.setdefault(i, reasons[int(index[i])])
    return np.array([*results, default])[index] if len(array) else np.array([default])[:0]


def _text(value: Any) -> Any:
    """Text that stands in a binary column, as some databases export it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def is_given(array: pa.Array) -> np.ndarray:
    """bool [n]: neither null nor NaN."""
    if not array.null_count and not pa.types.is_floating(array.type):
        return np.ones(len(array), bool)
    return array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False) == 0


def ids(array: pa.Array, problems: Problems) -> np.ndarray:
    """int64 [n], 0 where there is none."""
    kind = array.type
    if not array.null_count and pa.types.is_integer(kind):
        found = numbers_of(array)
        good = (found > 0) & (found <= MAX_ID)
        if good.all():
            return found.astype(np.int64, copy=False)
    elif not array.null_count and pa.types.is_floating(kind):
        found = numbers_of(array).astype(np.float64)
        with np.errstate(invalid="ignore"):
            if ((found > 0) & (found <= EXACT_FLOAT) & (found == np.floor(found))).all():
                return found.astype(np.int64)
    result = np.zeros(len(array), np.int64)
    for i, value in enumerate(values_of(array)):
        try:
            result[i] = parse_id(_text(value))
        except ValueError as error:
            problems.setdefault(i, str(error))
    return result


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def vectors(array: pa.Array, dim: int, problems: Problems) -> np.ndarray:
    """float32 [n, dim], the column's own memory where every row is whole; each row's own length counts."""
    n = len(array)
    if is_list(array.type) and _is_number(array.type.value_type):
        lengths = numbers_of(filled(pc.list_value_length(array), -1))
        whole = lengths == dim
        good = array if whole.all() else array.filter(pa.array(whole))
        values = good.flatten()
        if whole.all() and not values.null_count and pa.types.is_float32(values.type):
            return numbers_of(values).reshape(n, dim)
        found = np.zeros((n, dim), np.float32)
        numbers = _as_float32(filled(values, 0)).reshape(-1, dim)
        found[whole] = numbers
        for i in np.flatnonzero(~whole).tolist():
            told = "null" if lengths[i] < 0 else f"{lengths[i]} numbers"
            problems.setdefault(i, f"embeddings of a wrong length: {told}, expected {dim}")
        if values.null_count:
            missing = ~values.is_valid().to_numpy(zero_copy_only=False).reshape(-1, dim).all(axis=1)
            for i in np.flatnonzero(whole)[missing].tolist():
                problems.setdefault(i, "embeddings hold null")
        return found
    found = np.zeros((n, dim), np.float32)
    for i, value in enumerate(values_of(array)):
        try:
            found[i] = parse_embedding(value, dim)
        except ValueError as error:
            problems.setdefault(i, str(error))
    return found


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _as_float32(values: pa.Array) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
        return numbers_of(values).astype(np.float32)


def buckets(array: pa.Array, rule: Callable[[Any], int], problems: Problems) -> np.ndarray:
    """uint8 [n], 0 to 22; Unknown where null."""
    if pa.types.is_integer(array.type):
        found = numbers_of(filled(array, UNKNOWN_BUCKET))
        if not len(found) or (found.min() >= 0 and found.max() <= UNKNOWN_BUCKET):
            return found.astype(np.uint8)
    return by_value(array, rule, problems, UNKNOWN_BUCKET).astype(np.uint8)


def weights(array: pa.Array, rule: Callable[[Any], float], problems: Problems) -> np.ndarray:
    """float32 [n]; 1 where null."""
    if pa.types.is_float32(array.type) or pa.types.is_float64(array.type):
        found = numbers_of(filled(array, 1.0))
        if ((found >= 0) & (found < 3.4e38)).all():
            return found.astype(np.float32, copy=False)
    return by_value(array, rule, problems, 1.0).astype(np.float32)


def titles(array: pa.Array) -> list[str | None] | None:
    """None where no row has one."""
    if array.null_count == len(array):
        return None
    return [None if value is None else str(_text(value)) for value in values_of(array)]


def tags(
    array: pa.Array, names: list[str] | None, rule: Callable[..., tuple[int, ...]], problems: Problems
) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Types in any form → (int32 [n], the lists of tags that these point into).

    Args:
        names: what numbers stand for. rule: `types_of`, one value's.
    """
    if is_list(array.type) and pa.types.is_integer(array.type.value_type) and names:
        found = _numbered_tags(array, names)
        if found is not None:
            return found
    lists: dict[tuple[int, ...], int] = {(): 0}

    def place(value: Any) -> int:
        return lists.setdefault(rule(value, names), len(lists))

    places = by_value(array, place, problems, 0).astype(np.int32)
    return places, list(lists)


def _numbered_tags(array: pa.Array, names: list[str]) -> tuple[np.ndarray, list[tuple[int, ...]]] | None:
    """Lists of ClassLabel numbers, all good; None where one is not, so that each is looked at."""
    lengths = numbers_of(filled(pc.list_value_length(array), 0))
    values = array.flatten()
    if not len(lengths):
        return np.zeros(0, np.int32), [()]
    if lengths.min() < 1 or lengths.max() > len(TAGS) or values.null_count or array.null_count:
        return None
    numbers = numbers_of(values)
    if numbers.min() < 0 or numbers.max() >= len(names):
        return None
    known = np.array([TAGS.index(name) if name in TAGS else -1 for name in names])
    indices = known[numbers]
    if indices.min() < 0:
        return None
    # A list of tags as one number: its digits, to the base of their count, are the tags in their order.
    base = len(TAGS) + 1
    starts = np.cumsum(lengths) - lengths
    position = np.arange(len(indices)) - np.repeat(starts, lengths)
    key = np.add.reduceat((indices + 1) * base ** position.astype(np.int64), starts)
    different, place = np.unique(key, return_inverse=True)
    return place.astype(np.int32), [_digits(int(k), base) for k in different]


def _digits(key: int, base: int) -> tuple[int, ...]:
    found = []
    while key:
        key, digit = divmod(key, base)
        found.append(digit - 1)
    return tuple(dict.fromkeys(found))
