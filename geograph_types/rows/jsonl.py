"""JSONL lines, or rows as dicts, → checked rows. The hot path makes no Python object a number."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson
import pybase64

from geograph_types.rows.fields import Rejected, SourceRows, id_of_row, labels_of_row, without_bad_vectors
from names_geograph import EMBEDDING_DIM
from row_geograph import DISTANCE_CODES, MAX_ID, code_of_row, shown, vector_of_row

BYTE_ORDER_MARK = "\ufeff"
QUOTE = ord('"')
_VECTOR_BEGINS = re.compile(rb'"embeddings"\s*:\s*"')
# Stands in a line for the vector that was taken out of it.
TAKEN_TEXT = "(taken)"
TAKEN = TAKEN_TEXT.encode()


def most_rows(size: int, embedding_dim: int = EMBEDDING_DIM) -> int:
    """How many good rows so many bytes of JSONL can hold: a vector's number takes two at least, as in "0,"."""
    return size // (2 * embedding_dim) + 1


def parse_block(
    data: bytes,
    first_line: int,
    source: str,
    labelled: bool = True,
    *,
    out: np.ndarray | None = None,
    embedding_dim: int = EMBEDDING_DIM,
    extra: tuple[str, ...] = (),
) -> SourceRows:
    """JSONL lines → checked rows.

    Args:
        data: whole lines. first_line: the number of the first one.
        labelled: whether `types` must be there (to train); without, rows to be predicted may lack or break them.
        out: where embeddings go, float32 [at least most_rows(len(data)), dim]; by default memory of their own.
        extra: other fields to keep, such as `subject`.
    """
    count = most_rows(len(data), embedding_dim)
    block = Columns(source, labelled, np.empty((count, embedding_dim), "<f4") if out is None else out, extra)
    add_lines(block, data, 0, len(data), first_line)
    return block.rows()


def add_lines(block: "Columns", data: Any, at: int, end: int, number: int = 1) -> int:
    """Adds the rows of whole lines; returns how many lines there are.

    A row's vector is decoded where it stands, and the rest of its line, which is short, is read as JSON. Lines of
    another form are read as a whole.

    Args:
        data: bytes, a bytearray or an mmap, which has them from `at` to `end`. number: that of the first line.
    """
    loads, b64decode, find, first = orjson.loads, pybase64.b64decode, data.find, number
    size = 4 * block.dim
    length = -(-size // 3) * 4  # as base64
    with memoryview(data) as view:
        key = _VECTOR_BEGINS.search(view[at:end])
        key = key[0] if key else b'"embeddings":"'  # as it is spelled here: with blanks or without
        while at < end:
            stop = find(b"\n", at, end)
            stop = end if stop < 0 else stop
            found = find(key, at, stop)
            begin = found + len(key)
            close = begin + length
            try:
                if found < 0:
                    raise ValueError
                if close < stop and view[close] == QUOTE:
                    vector = b64decode(view[begin:close], validate=True)
                else:  # PHP writes a slash as \/
                    close = max(find(b'"', begin, stop), begin)
                    vector = b64decode(bytes(view[begin:close]).replace(b"\\/", b"/"), validate=True)
                if len(vector) != size:
                    raise ValueError
                row = loads(b"".join((view[at:begin], TAKEN, view[close:stop])))
                if row["embeddings"] != TAKEN_TEXT or "embedding" in row:
                    raise ValueError
            except (ValueError, KeyError, TypeError):  # another form, broken, or blank
                line = bytes(view[at:stop])
                if line and not line.isspace():
                    block.add_line(line, number)
            else:
                block.add(row, number, vector)
            at, number = stop + 1, number + 1
    return number - first


def parse_rows(
    rows: Iterable[tuple[int, Any]],
    source: str,
    labelled: bool = True,
    *,
    embedding_dim: int = EMBEDDING_DIM,
    extra: tuple[str, ...] = (),
) -> SourceRows:
    """Numbered rows as dicts, such as a table's lines, → checked rows; a ValueError among them is a bad row."""
    rows = list(rows)
    block = Columns(source, labelled, np.empty((len(rows), embedding_dim), "<f4"), extra)
    for number, row in rows:
        block.add(row, number)
    return block.rows()


class Columns:
    """Rows that become columns, one after another; bad ones are noted."""

    def __init__(self, source: str, labelled: bool, embedding: np.ndarray, extra: tuple[str, ...] = ()):
        self.source, self.labelled, self.embedding = source, labelled, embedding
        self.dim = embedding.shape[1]
        self._buffer = memoryview(embedding).cast("B") if len(embedding) else None
        self._rows: list[tuple] = []  # id, list of types, distance, weight, split, line, title
        self._extra = {name: [] for name in extra}
        self._lists: dict[tuple[int, ...], int] = {}
        self._labels: dict[tuple, tuple[int, float, int, None]] = {}
        self._rejected: list[Rejected] = []

    def add_line(self, line: bytes, number: int) -> None:
        """A line that is not a plain row: other forms of one, several joined, or none."""
        try:
            rows = rows_in(line)
        except ValueError as error:
            self._rejected.append(Rejected(self.source, number, str(error)))
            return
        for row in rows:
            self.add(row, number)

    def add(self, row: Any, number: int, vector: bytes | None = None) -> None:
        """`vector`: its bytes, where they are decoded already."""
        identity, place = None, len(self._rows)
        try:
            if isinstance(row, ValueError):
                raise row
            if type(row) is not dict:
                raise ValueError(f"expected an object, got {type(row).__name__}")
            number_given = row.get("gridimage_id")
            plain = type(number_given) is int and 0 < number_given <= MAX_ID
            identity = number_given if plain else id_of_row(row)
            if vector is None:
                if place >= len(self.embedding):
                    raise ValueError("more rows than lines can hold")
                self.embedding[place] = vector_of_row(row, self.dim)
            else:
                self._buffer[place * len(vector) : (place + 1) * len(vector)] = vector
            distance = row.get("distance")
            code = DISTANCE_CODES.get(distance) if type(distance) is str and "distance_bucket" not in row else None
            if code is None:
                code = code_of_row(row, floored=not self.labelled)
            types, weight, split, title = self._labels_of(row)
        except ValueError as error:
            self._rejected.append(Rejected(self.source, number, str(error), identity))
            return
        self._rows.append((identity, types, code, weight, split, number, title))
        if self._extra:
            for name, values in self._extra.items():
                values.append(row.get(name))

    def _labels_of(self, row: dict[str, Any]) -> tuple[int, float, int, str | None]:
        """Place in the lists of tags, weight, split, title. Most rows have the labels of another one."""
        types, weight, split = row.get("types"), row.get("weight", 1.0), row.get("split")
        usual = type(types) is str and type(weight) is float and weight > 0 and (split is None or type(split) is str)
        if not usual or "title" in row or "distance_bucket" in row:
            return self._new_labels_of(row)
        labels = self._labels.get((types, weight, split))
        if labels is None:
            labels = self._labels[types, weight, split] = self._new_labels_of(row)
        return labels

    def _new_labels_of(self, row: dict[str, Any]) -> tuple[int, float, int, str | None]:
        tags, weight, split, title = labels_of_row(row, self.labelled)
        return self._lists.setdefault(tags, len(self._lists)), weight, split, title

    def rows(self) -> SourceRows:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * 7
        ids, types, codes, weights, splits, lines, titles = columns
        block = SourceRows(
            gridimage_id=np.array(ids, dtype=np.int64),
            types=np.array(types, dtype=np.int32),
            type_lists=list(self._lists),
            distance=np.array(codes, dtype=np.uint8),
            weight=np.array(weights, dtype=np.float32),
            split=np.array(splits, dtype=np.int8),
            embedding=self.embedding[: len(ids)],
            line=np.array(lines, dtype=np.int64),
            title=list(titles) if any(title is not None for title in titles) else None,
            rejected=self._rejected,
            extra=self._extra,
        )
        return without_bad_vectors(block, self.source)


def rows_in(line: bytes) -> list[Any]:
    """What stands in a line that may end in a comma, have byte order marks in it, or several rows side by side (as
    `cat` joins files without a last line's end).

    Raises:
        ValueError: broken JSON.
    """
    try:
        text = line.decode("utf-8").replace(BYTE_ORDER_MARK, " ").strip(" \t\r\n,")
        try:
            return [_unwrapped(orjson.loads(text))] if text else []
        except ValueError as error:
            found = list(_side_by_side(text))
            if not found:
                raise error
            return found
    except (ValueError, RecursionError) as error:
        told = str(error) or "nested too deeply"
        raise ValueError(f"broken JSON: {told}: {shown(line[:200].decode('utf-8', 'replace'))}") from None


def _side_by_side(text: str) -> Iterator[Any]:
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        row, place = decoder.raw_decode(text, place)
        if not isinstance(row, dict):
            raise ValueError(f"expected an object, got {type(row).__name__}")
        yield _unwrapped(row)
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1


def _unwrapped(row: Any) -> Any:
    """The row itself where the Hub's viewer gave it: {"row_idx": 0, "row": {…}, "truncated_cells": []}."""
    if isinstance(row, dict) and isinstance(row.get("row"), dict) and "gridimage_id" not in row:
        return row["row"]
    return row
