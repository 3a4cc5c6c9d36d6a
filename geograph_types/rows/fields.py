"""Rows as arrays, and the rules of a source row's labels; `row_geograph` has those of number, vector and distance.

`parse_row` is the one reader of a source row; JSONL and CSV come through it, Parquet by the same rules of each field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from geograph_types.rows.splits import NO_SPLIT, parse_split
from names_geograph import EMBEDDING_DIM, TAGS
from row_geograph import (
    DISTANCE_CODES,
    DISTANCES,
    ZERO,
    code_of_row,
    is_blank,
    norms_of,
    parse_id,
    plain,
    shown,
    vector_of_row,
    vector_problems,
)

__all__ = ["DISTANCES", "DISTANCE_CODES", "TAGS", "Rejected", "Rows", "SourceRows", "parse_row"]

MAX_WEIGHT = 3.4e38  # float32's


@dataclass
class Rows:
    """Rows as arrays. `tags` is bool [N, 8] in the order of `TAGS`, `distance` the bucket, 0 to 22."""

    gridimage_id: np.ndarray  # int64 [N]
    tags: np.ndarray  # bool [N, 8]
    distance: np.ndarray  # uint8 [N]
    embedding: np.ndarray  # float32 [N, dim]
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

    def __str__(self) -> str:
        which = "" if self.gridimage_id is None else f", gridimage_id {self.gridimage_id}"
        return f"{self.source}, line {self.line}{which}: {self.reason}"


@dataclass
class SourceRows:
    """The good rows of one block, as arrays, and the bad ones."""

    gridimage_id: np.ndarray  # int64 [n]
    types: np.ndarray  # int32 [n], index into `type_lists`
    type_lists: list[tuple[int, ...]]  # tags as indices into TAGS, in the order that people wrote them
    distance: np.ndarray  # uint8 [n], index into DISTANCES
    weight: np.ndarray  # float32 [n]
    split: np.ndarray  # int8 [n], 0 to 2, or NO_SPLIT
    embedding: np.ndarray  # float32 [n, dim]
    line: np.ndarray  # int64 [n]
    title: list[str | None] | None = None  # None where no row has one
    rejected: list[Rejected] = field(default_factory=list)
    extra: dict[str, list] = field(default_factory=dict)  # other fields that were asked for, None where absent
    norm: np.ndarray | None = None  # float32 [n], the vectors' lengths

    def __len__(self) -> int:
        return len(self.gridimage_id)

    @property
    def bucket(self) -> np.ndarray:
        """uint8 [n], 0 to 22."""
        return np.where(self.distance == ZERO, 0, self.distance).astype(np.uint8)

    @property
    def tags(self) -> np.ndarray:
        """bool [n, 8]."""
        table = np.zeros((max(len(self.type_lists), 1), len(TAGS)), dtype=bool)
        for row, types in enumerate(self.type_lists):
            table[row, list(types)] = True
        return table[self.types]

    def rows(self) -> Rows:
        return Rows(self.gridimage_id, self.tags, self.bucket, self.embedding, self.weight)


class ParsedRow(NamedTuple):
    """One source row, checked; its vector only as to form and width."""

    gridimage_id: int
    distance: int  # index into DISTANCES
    embedding: np.ndarray  # float32 [dim]
    types: tuple[int, ...]  # indices into TAGS; () where labels were not asked for
    weight: float
    split: int
    title: str | None


def parse_row(row: Mapping[str, Any], labelled: bool = True, embedding_dim: int = EMBEDDING_DIM) -> ParsedRow:
    """A source row, or a row of the published dataset, as a dict → its fields.

    Args:
        labelled: whether it is to train on. Without, types, weight and split may be missing or anything, and metres
            are floored to a power of two.

    Raises:
        ValueError: what cannot be used, with its value.
    """
    identity = id_of_row(row)
    vector = vector_of_row(row, embedding_dim)
    return ParsedRow(identity, code_of_row(row, floored=not labelled), vector, *labels_of_row(row, labelled))


def id_of_row(row: Mapping[str, Any]) -> int:
    if "gridimage_id" not in row:
        raise ValueError(f"no gridimage_id; the row has {', '.join(map(str, list(row)[:12])) or 'nothing'}"[:200])
    return parse_id(row["gridimage_id"])


def labels_of_row(row: Mapping[str, Any], labelled: bool) -> tuple[tuple[int, ...], float, int, str | None]:
    """Types, weight, split and title; only the title where labels were not asked for."""
    title = row.get("title")
    if title is not None and type(title) is not str:
        title = None if is_blank(title) else str(title)
    if not labelled:
        return (), 1.0, NO_SPLIT, title
    numbered = "distance_bucket" in row and is_published(row)
    weight = parse_weight(row["weight"]) if "weight" in row else 1.0
    split = parse_split(row["split"], numbered) if "split" in row else NO_SPLIT
    types = row.get("types")
    types = parse_types(types) if type(types) is str else types_of(types, TAGS if numbered else None)
    return types, weight, split, title


def is_published(names: Mapping[str, Any] | list[str] | set[str]) -> bool:
    """Whether a row has the columns of the published dataset, where numbers stand for the names in their order."""
    return "distance_bucket" in names and "embedding" in names and "types" in names


def types_of(value: object, names: list[str] | None = None) -> tuple[int, ...]:
    """Tags in any form → indices into `TAGS`, in the order written, each once.

    Args:
        value: "A,B", a list of names, or numbers that stand for `names`, alone or in a list.
        names: what numbers stand for; None: nothing says so, and they are refused.

    Raises:
        ValueError: an unknown tag, or none.
    """
    if isinstance(value, str):
        return parse_types(value)
    if is_blank(value):
        raise ValueError("no types")
    if isinstance(value, np.ndarray) or hasattr(value, "tolist"):
        value = value.tolist()
    several = value if isinstance(value, list | tuple | set | frozenset) else [value]
    return parse_types(",".join(_tag_name(tag, names) for tag in several))


def _tag_name(tag: object, names: list[str] | None) -> str:
    tag = plain(tag)
    if isinstance(tag, str):
        return tag
    if isinstance(tag, bytes):
        return tag.decode("utf-8", "replace")
    if type(tag) is int:
        if names is None:
            raise ValueError(f"types are numbers ({tag}), and nothing says what they stand for; expected names")
        if 0 <= tag < len(names):
            return names[tag]
    raise ValueError(f"unknown tag {shown(tag)}; known are {', '.join(TAGS)}")


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
            raise ValueError(f"unknown tag {shown(tag)}; known are {', '.join(TAGS)}")
        if TAGS.index(tag) not in found:
            found.append(TAGS.index(tag))
    if not found:
        raise ValueError("no tag")
    return tuple(found)


def parse_weight(value: object) -> float:
    """How far to trust the label: a number, or one as text; 1.0 where it is null or blank.

    Raises:
        ValueError: not a number of at least 0.
    """
    if type(value) is float and 0 <= value < MAX_WEIGHT:
        return value
    if value is None:
        return 1.0
    number = plain(value)
    if isinstance(number, str):
        if not number.strip():
            return 1.0
        try:
            number = float(number) if "_" not in number else None
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= number < MAX_WEIGHT:
        raise ValueError(f"bad weight {shown(value)}; expected a number of at least 0")
    return float(number)


def without_bad_vectors(block: SourceRows, source: str) -> SourceRows:
    """Measures the vectors, and moves rows whose vector no photo can have to the rejected ones."""
    block.norm = norms_of(block.embedding)
    problems = vector_problems(block.embedding, block.norm)
    if not problems:
        return block
    for i, reason in problems.items():
        block.rejected.append(Rejected(source, int(block.line[i]), reason, int(block.gridimage_id[i])))
    block.rejected.sort(key=lambda r: r.line)
    good = np.ones(len(block), bool)
    good[list(problems)] = False
    return keep(block, good)


def keep(block: SourceRows, mask: np.ndarray) -> SourceRows:
    """The block's rows where `mask` [n] is True."""
    arrays = ("gridimage_id", "types", "distance", "weight", "split", "embedding", "line")
    return SourceRows(
        **{name: getattr(block, name)[mask] for name in arrays},
        type_lists=block.type_lists,
        title=None if block.title is None else [t for t, on in zip(block.title, mask, strict=True) if on],
        rejected=block.rejected,
        extra={name: [v for v, on in zip(values, mask, strict=True) if on] for name, values in block.extra.items()},
        norm=None if block.norm is None else block.norm[mask],
    )
