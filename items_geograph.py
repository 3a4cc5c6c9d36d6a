"""What people hand to the pipeline → items that all look the same: a dict of one photo or one embedding."""

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import torch

try:
    from .grid_geograph import bucket_for, bucket_of, least_metres
    from .row_geograph import EMBEDDING_NAMES, bucket_of_code, code_of_row, parse_id, plain, shown
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from grid_geograph import bucket_for, bucket_of, least_metres
    from row_geograph import EMBEDDING_NAMES, bucket_of_code, code_of_row, parse_id, plain, shown

# Keys of an item that say where its photo is, besides those of an embedding; what else counts; what may be there.
PHOTO_KEYS = ("photo", "image", "path")
PLACE_KEYS = ("distance", "subject", "viewpoint")
OWN_KEYS = {*EMBEDDING_NAMES, *PHOTO_KEYS, *PLACE_KEYS, "distance_bucket", "gridimage_id"}
OTHER_KEYS = {"types", "weight", "split", "title"}
CHANNELS = (1, 3, 4)


def unwrapped(inputs: Any, dim: int) -> Any:
    """What is many → a list of items; one, or a stream, as it is."""
    if hasattr(inputs, "to_dict") and hasattr(inputs, "columns"):  # pandas
        if len({*inputs.columns}) < len(inputs.columns):
            raise ValueError(f"two columns have one name: {', '.join(map(str, inputs.columns))}"[:200])
        return inputs.to_dict("records")
    if isinstance(inputs, Mapping):
        columns = columns_of(inputs, dim)
        return inputs if columns is None else columns
    if isinstance(inputs, list | tuple):
        numbers = bool(inputs) and isinstance(plain(inputs[0]), Real)
        return {"embedding": inputs} if numbers else list(inputs)  # one vector, not many scalars
    if _is_embeddings(inputs, dim) and inputs.ndim == 2:
        return [{"embedding": vector} for vector in inputs]
    if getattr(inputs, "ndim", 0) == 4 and hasattr(inputs, "dtype"):
        return list(inputs)
    return inputs


def columns_of(batch: Mapping[str, Any], dim: int) -> list[dict[str, Any]] | None:
    """A batch of columns → its rows; None where it is one item."""
    columns = {name: value for name, value in batch.items() if name in OWN_KEYS and _is_column(name, value, dim)}
    if not columns:
        return None
    _check_names(batch)
    lengths = {name: len(value) for name, value in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"a batch of columns of different lengths: {lengths}")
    count = next(iter(lengths.values()))
    single = {name: value for name, value in batch.items() if name in OWN_KEYS and name not in columns}
    return [{**single, **{name: value[i] for name, value in columns.items()}} for i in range(count)]


def _is_column(name: str, value: Any, dim: int) -> bool:
    """Whether a dict's value is many rows' rather than one's."""
    if isinstance(value, str | bytes | bytearray | Mapping) or not hasattr(value, "__len__"):
        return False
    if name in EMBEDDING_NAMES:
        if hasattr(value, "ndim"):
            return value.ndim == 2 and len(value) != 1
        first = next(iter(value), None)
        return not isinstance(plain(first), Real) and (len(value) != 1 or isinstance(first, str | bytes))
    if name in ("photo", "image"):
        return isinstance(value, list | tuple)
    return getattr(value, "ndim", 1) > 0


def is_stream(inputs: Any) -> bool:
    """Generators; datasets of torch and of `datasets`, and transformers' own: rows by number, and no array."""
    if hasattr(inputs, "read"):  # an open file gives its lines, too
        return False
    rows = isinstance(inputs, torch.utils.data.Dataset) or hasattr(inputs, "features")
    return isinstance(inputs, Iterator) or (rows and (hasattr(inputs, "__getitem__") or hasattr(inputs, "__iter__")))


def _is_embeddings(item: Any, dim: int) -> bool:
    """Whether an array or a tensor is one embedding [dim] or several [N, dim]: floats of that width."""
    floats = "float" in str(getattr(item, "dtype", ""))
    return floats and getattr(item, "ndim", 0) in (1, 2) and (item.ndim == 1 or item.shape[1] == dim)


def _is_grey(item: Any) -> bool:
    """Whether floats [H, W] are a grey photo's."""
    return 0 not in item.shape and bool(item.min() >= 0 and item.max() <= 1)


def as_row(item: Any, dim: int) -> dict[str, Any]:
    """An item that is no dict → one."""
    if item is None or isinstance(plain(item), Real):
        raise ValueError(f"expected a photo or an embedding, got {shown(item)}")
    if isinstance(item, list | tuple) or _is_embeddings(item, dim):
        return {"embedding": item}
    if getattr(item, "ndim", 0) == 2 and "float" in str(item.dtype) and not _is_grey(item):
        raise ValueError(f"float {list(item.shape)}: neither embeddings [N, {dim}] nor a grey photo of values 0 to 1")
    return {"photo": item}


def as_photo(photo: Any) -> Any:
    """Open files and tensors → what the encoder takes."""
    if hasattr(photo, "read") and not hasattr(photo, "getexif"):
        data = "" if isinstance(photo, io.TextIOBase) else photo.read()
        if not isinstance(data, bytes):
            raise ValueError(f"{shown(getattr(photo, 'name', 'file'))} is open as text; open photos in binary mode")
        if not data and hasattr(photo, "seek"):  # read before, by whoever looked at it
            photo.seek(0)
            data = photo.read()
        return data
    if isinstance(photo, torch.Tensor):
        photo = photo.detach().cpu()
        photo = (photo.float() if photo.is_floating_point() else photo).numpy()
    if getattr(photo, "ndim", 0) == 3 and photo.shape[0] in CHANNELS and photo.shape[2] not in CHANNELS:
        photo = photo.transpose(1, 2, 0)  # colours first, as torch has them
    return photo


def check_keys(row: dict[str, Any]) -> None:
    if not any(row.get(name) is not None for name in (*EMBEDDING_NAMES, *PHOTO_KEYS)):
        expected = ", ".join((*EMBEDDING_NAMES, *PHOTO_KEYS))
        raise ValueError(f"expected one of {expected}, got {', '.join(map(str, row)) or 'an empty dict'}")
    named = [name for name in PHOTO_KEYS if isinstance(row.get(name), str | os.PathLike)]
    if len({os.fspath(row[name]) for name in named}) > 1:
        raise ValueError(f"{' and '.join(f'{name} {shown(row[name])}' for name in named)} name two photos; keep one")
    _check_names(row)


def _check_names(row: Mapping[str, Any]) -> None:
    unknown = [name for name in row if name not in OWN_KEYS | OTHER_KEYS]
    if not unknown:
        return
    named = ", ".join(shown(name) for name in unknown)
    if "embeddings" in row and "gridimage_id" in row:  # a source row may have more, which says nothing here
        warnings.warn(f"not looked at in a source row: {named}", stacklevel=2)
        return
    raise ValueError(f"unknown key {named}; known are {', '.join(sorted(OWN_KEYS))}")


def bucket_of_item(row: dict[str, Any], distance: Any, points: dict[str, Any]) -> int:
    """The distance's bucket, 0 to 22: the row's own, else the call's, else between the points."""
    if "embeddings" in row and "distance" in row:  # a source row, where null is zero
        return bucket_of_code(code_of_row(row, floored=True))
    own = {name: row[name] for name in ("distance", "distance_bucket") if row.get(name) is not None}
    of_photo = not any(row.get(name) is not None for name in EMBEDDING_NAMES)
    if of_photo and str(own.get("distance", "?")).strip() == "":
        del own["distance"]  # left blank
    return bucket_of_code(code_of_row(own, floored=True)) if own else bucket_for(distance, *points.values())


def metres_of_item(row: dict[str, Any], distance: Any, bucket: int) -> float | None:
    """The given distance in metres, for a message; None where it is not known. `bucket`: as `bucket_of_item`."""
    own = plain(row["distance"] if row.get("distance") is not None else distance)
    try:
        metres = float(own)
    except (TypeError, ValueError):
        return least_metres(bucket)
    return metres if bucket_of(metres) == bucket else least_metres(bucket)


def which(item: Any) -> dict[str, Any]:
    """`gridimage_id`, else `path`, where the item says which photo it is."""
    if isinstance(item, Mapping):
        if item.get("gridimage_id") is not None:
            try:
                return {"gridimage_id": parse_id(item["gridimage_id"])}
            except ValueError:
                return {"gridimage_id": plain(item["gridimage_id"])}
        item = next((item[key] for key in PHOTO_KEYS if item.get(key) is not None), None)
    if hasattr(item, "read") and not hasattr(item, "getexif"):
        item = getattr(item, "name", None)
    return {"path": os.fspath(item)} if isinstance(item, str | os.PathLike) else {}
