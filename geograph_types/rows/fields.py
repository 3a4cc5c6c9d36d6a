"""Source rows read and checked; Parquet → tensors. No Python object a number on the way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson
import pybase64

from names_geograph import EMBEDDING_DIM, TAGS, UNKNOWN_BUCKET

EMBEDDING_BYTES = EMBEDDING_DIM * 4
BASE64_LENGTH = 2730  # characters of EMBEDDING_BYTES, less the padding

# Distances as the source writes them; the place is the bucket, but for the last: "0" is bucket 0, as "" is.
DISTANCES = ("", *(str(2**i) for i in range(21)), "Unknown", "0")
DISTANCE_CODES = {text: code for code, text in enumerate(DISTANCES)}

# Splits as the source names them → as published.
SPLIT_NAMES = {"tra": 0, "val": 1, "tes": 2}
NO_SPLIT = -1

MAX_ID = 2**63 - 1


@dataclass
class Rows:
    """Rows as arrays. `tags` is bool [N, 8] in the order of `TAGS`, `distance` the bucket, 0 to 22."""

    gridimage_id: np.ndarray  # int64 [N]
    tags: np.ndarray  # bool [N, 8]
    distance: np.ndarray  # uint8 [N]
    embedding: np.ndarray  # float32 [N, 512]
    weight: np.ndarray  # float32 [N]

    def __len__(self) -> int:
        return len(self.gridimage_id)

    def __getitem__(self, index) -> "Rows":
        return Rows(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Rejected:
    """A source row that cannot be used, and why."""

    source: str
    line: int
    reason: str
    gridimage_id: int | None = None

    def as_json(self) -> dict:
        known = {} if self.gridimage_id is None else {"gridimage_id": self.gridimage_id}
        return {"source": self.source, "line": self.line, "reason": self.reason, **known}


@dataclass
class SourceRows:
    """The good rows of one block, as arrays, and the bad ones."""

    gridimage_id: np.ndarray  # int64 [n]
    types: np.ndarray  # int32 [n], index into `type_lists`
    type_lists: list[tuple[int, ...]]  # tags as indices into TAGS, in the order that people wrote them
    distance: np.ndarray  # uint8 [n], index into DISTANCES
    weight: np.ndarray  # float32 [n]
    split: np.ndarray  # int8 [n], 0 to 2, or NO_SPLIT
    embedding: np.ndarray  # float32 [n, 512]
    line: np.ndarray  # int64 [n]
    title: list[str | None] | None = None  # None where no row has one
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.gridimage_id)

    @property
    def bucket(self) -> np.ndarray:
        """uint8 [n], 0 to 22."""
        return np.where(self.distance == DISTANCE_CODES["0"], 0, self.distance).astype(np.uint8)

    @property
    def tags(self) -> np.ndarray:
        """bool [n, 8]."""
        table = np.zeros((max(len(self.type_lists), 1), len(TAGS)), dtype=bool)
        for row, types in enumerate(self.type_lists):
            table[row, list(types)] = True
        return table[self.types]

    def rows(self) -> Rows:
        return Rows(self.gridimage_id, self.tags, self.bucket, self.embedding, self.weight)


@lru_cache(maxsize=65536)
def parse_types(text: str) -> tuple[int, ...]:
    """ "A,B" → indices into `TAGS`, in the order written, each once; blanks around a tag do not count.

    Raises:
        ValueError: an unknown tag, or none.
    """
    found = []
    for tag in text.split(","):
        if not (tag := tag.strip()):
            continue
        if tag not in TAGS:
            raise ValueError(f"unknown tag {tag!r}; known are {', '.join(TAGS)}")
        if TAGS.index(tag) not in found:
            found.append(TAGS.index(tag))
    if not found:
        raise ValueError("no tag")
    return tuple(found)


def distance_code(value: object) -> int:
    """A source's distance → index into `DISTANCES`; a JSON number counts as its digits, null as "".

    Raises:
        ValueError: anything but "", "0", a power of two up to 2^20, "Unknown".
    """
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    code = DISTANCE_CODES.get(str(value)) if not isinstance(value, bool) else None
    if code is None:
        raise ValueError(f"impossible distance {value!r}; expected '', 0, a power of two up to 1048576, or 'Unknown'")
    return code


def parse_embedding(text: object) -> bytes:
    """Base64 → 2,048 bytes, 512 little-endian float32 (checked for NaN by whoever has many of them).

    Raises:
        ValueError: not base64, or not of that length.
    """
    if not isinstance(text, str):
        raise ValueError(f"embeddings must be base64 text, got {type(text).__name__}")
    try:
        data = pybase64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("embeddings are not base64") from None
    if len(data) != EMBEDDING_BYTES:
        raise ValueError(f"embeddings of a wrong length: {len(data)} bytes, expected {EMBEDDING_BYTES} (512 float32)")
    return data


def parse_id(value: object) -> int:
    """A photo's number.

    Raises:
        ValueError: not a whole number above 0 that 64 bits hold.
    """
    if type(value) is not int or not 0 < value <= MAX_ID:
        raise ValueError(f"bad gridimage_id {value!r}; expected a whole number above 0")
    return value


def parse_weight(value: object) -> float:
    """How far to trust the label; 1.0 where absent.

    Raises:
        ValueError: not a number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 3.4e38:
        raise ValueError(f"bad weight {value!r}; expected a number of at least 0")
    return float(value)


def most_rows(size: int) -> int:
    """How many good rows so many bytes of JSONL can hold: each has its embedding in base64."""
    return size // BASE64_LENGTH + 1


def parse_block(
    data: bytes, first_line: int, source: str, labelled: bool = True, out: np.ndarray | None = None
) -> SourceRows:
    """JSONL lines → checked rows.

    Args:
        data: whole lines. first_line: the number of the first one.
        labelled: whether `types` must be there (to train); without, rows to be predicted may lack or break them.
        out: where embeddings go, float32 [at least most_rows(len(data)), 512]; by default memory of their own.
    """
    lines = data.split(b"\n")
    embedding = np.empty((most_rows(len(data)), EMBEDDING_DIM), dtype="<f4") if out is None else out
    buffer = memoryview(embedding).cast("B")
    ids, types, codes, weights, splits, numbers, titles = [], [], [], [], [], [], []
    rejected: list[Rejected] = []
    lists: dict[tuple[int, ...], int] = {}
    loads, has_title, n = orjson.loads, False, 0
    for offset, line in enumerate(lines):
        if not line or line.isspace():
            continue
        identity = None
        try:
            try:
                row = loads(line)
            except ValueError as error:
                raise ValueError(f"broken JSON: {error}") from None
            if type(row) is not dict:
                raise ValueError(f"expected an object, got {type(row).__name__}")
            if "gridimage_id" not in row:
                raise ValueError("no gridimage_id")
            identity = parse_id(row["gridimage_id"])
            if "embeddings" not in row:
                raise ValueError("no embeddings")
            buffer[n * EMBEDDING_BYTES : (n + 1) * EMBEDDING_BYTES] = parse_embedding(row["embeddings"])
            code = distance_code(row.get("distance", "Unknown"))
            weight = parse_weight(row["weight"]) if "weight" in row else 1.0
            split = parse_split(row.get("split")) if labelled else NO_SPLIT
            tags = _types(row) if labelled else ()
            title = row.get("title")
        except ValueError as error:
            rejected.append(Rejected(source, first_line + offset, str(error), identity))
            continue
        ids.append(identity)
        types.append(lists.setdefault(tags, len(lists)))
        codes.append(code)
        weights.append(weight)
        splits.append(split)
        numbers.append(first_line + offset)
        if title is not None:
            has_title = True
            title = title if isinstance(title, str) else str(title)
        titles.append(title)
        n += 1
    result = SourceRows(
        gridimage_id=np.array(ids, dtype=np.int64),
        types=np.array(types, dtype=np.int32),
        type_lists=list(lists),
        distance=np.array(codes, dtype=np.uint8),
        weight=np.array(weights, dtype=np.float32),
        split=np.array(splits, dtype=np.int8),
        embedding=embedding[:n],
        line=np.array(numbers, dtype=np.int64),
        title=titles if has_title else None,
        rejected=rejected,
    )
    return without_bad_numbers(result, source)


def without_bad_numbers(block: SourceRows, source: str) -> SourceRows:
    """Moves rows whose embedding holds NaN or infinity to the rejected ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(block.embedding.sum(axis=1)).all():  # ten times as fast as looking at each number
            return block
    bad = ~np.isfinite(block.embedding).all(axis=1)
    if not bad.any():  # finite numbers so large that their sum is not
        return block
    for i in np.flatnonzero(bad):
        block.rejected.append(
            Rejected(source, int(block.line[i]), "embeddings hold NaN or infinity", int(block.gridimage_id[i]))
        )
    block.rejected.sort(key=lambda r: r.line)
    return keep(block, ~bad)


def keep(block: SourceRows, mask: np.ndarray) -> SourceRows:
    """The block's rows where `mask` [n] is True."""
    return SourceRows(
        gridimage_id=block.gridimage_id[mask],
        types=block.types[mask],
        type_lists=block.type_lists,
        distance=block.distance[mask],
        weight=block.weight[mask],
        split=block.split[mask],
        embedding=block.embedding[mask],
        line=block.line[mask],
        title=None if block.title is None else [t for t, on in zip(block.title, mask, strict=True) if on],
        rejected=block.rejected,
    )


def _types(row: dict) -> tuple[int, ...]:
    text = row.get("types")
    if text is None:
        raise ValueError("no types")
    if not isinstance(text, str):
        raise ValueError(f'types must be text such as "Geograph,Inside", got {type(text).__name__}')
    return parse_types(text)


def parse_split(name: object) -> int:
    """ "tra", "val", "tes" → 0 to 2; none → NO_SPLIT.

    Raises:
        ValueError: anything else.
    """
    if name is None or name == "":
        return NO_SPLIT
    if not isinstance(name, str) or name not in SPLIT_NAMES:
        raise ValueError(f"unknown split {name!r}; expected {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[name]


def iterate_parquet(paths: Iterable[str | Path], batch_size: int = 8192) -> Iterator[Rows]:
    """Published Parquet → rows, batch by batch, in constant memory.

    Raises:
        ValueError: a file without the published columns, or with values that cannot be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        try:
            # pre_buffer would keep the whole file in memory.
            file = pq.ParquetFile(path, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: not a Parquet file ({error})") from None
        with file:
            names = set(file.schema_arrow.names)
            if missing := {"gridimage_id", "embedding"} - names:
                raise ValueError(
                    f"{path}: no column {sorted(missing)[0]!r}; expected a file that prepare_dataset.py made"
                )
            wanted = [c for c in ("gridimage_id", "types", "distance_bucket", "weight", "embedding") if c in names]
            for batch in file.iter_batches(batch_size, columns=wanted):
                yield _rows_of(batch, path)


def read_parquet(paths: Iterable[str | Path]) -> Rows:
    """Published Parquet → all its rows, in one pass into arrays of the final size.

    Raises:
        ValueError: as `iterate_parquet`, or no rows at all.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = list(paths)
    try:
        total = sum(pq.read_metadata(path).num_rows for path in paths)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{paths[0]}: not a Parquet file ({error})") from None
    if not total:
        raise ValueError(f"{paths[0] if paths else 'no file'}: no rows")
    whole = Rows(
        gridimage_id=np.empty(total, np.int64),
        tags=np.empty((total, len(TAGS)), bool),
        distance=np.empty(total, np.uint8),
        embedding=np.empty((total, EMBEDDING_DIM), np.float32),
        weight=np.empty(total, np.float32),
    )
    start = 0
    for batch in iterate_parquet(paths):
        for name in whole.__dataclass_fields__:
            getattr(whole, name)[start : start + len(batch)] = getattr(batch, name)
        start += len(batch)
    return whole


def _rows_of(batch, path) -> Rows:
    """One Arrow batch → arrays, its embeddings without a copy."""
    import pyarrow as pa

    n = len(batch)
    column = {name: batch.column(name) for name in batch.schema.names}
    values = column["embedding"].flatten()
    if len(values) != n * EMBEDDING_DIM or values.null_count or not pa.types.is_float32(values.type):
        raise ValueError(f"{path}: embedding must be {EMBEDDING_DIM} float32 in every row")
    embedding = values.to_numpy(zero_copy_only=True).reshape(n, EMBEDDING_DIM)
    tags = np.zeros((n, len(TAGS)), dtype=bool)
    if "types" in column:
        lists = column["types"]
        indices = lists.flatten().to_numpy(zero_copy_only=False)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(TAGS)):
            raise ValueError(f"{path}: types must be indices 0 to {len(TAGS) - 1}")
        tags[np.repeat(np.arange(n), np.diff(lists.offsets.to_numpy())), indices] = True
    bucket = np.full(n, UNKNOWN_BUCKET, np.uint8)
    if "distance_bucket" in column:
        found = column["distance_bucket"].fill_null(UNKNOWN_BUCKET).to_numpy(zero_copy_only=False)
        if n and not (found.min() >= 0 and found.max() <= UNKNOWN_BUCKET):
            raise ValueError(f"{path}: distance_bucket must be 0 to {UNKNOWN_BUCKET}")
        bucket = found.astype(np.uint8)
    weight = np.ones(n, np.float32)
    if "weight" in column:
        weight = column["weight"].fill_null(1.0).to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return Rows(column["gridimage_id"].to_numpy(zero_copy_only=False), tags, bucket, embedding, weight)


def splitmix64(x: np.ndarray) -> np.ndarray:
    """Vigna's splitmix64, vectorised: uint64 [N] → uint64 [N] (1 → 10451216379200822465)."""
    z = x.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)  # in place from here on: millions of ids pass through
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    return z
