"""JSON in other shapes than a row a line → a row a line: arrays, {"rows": […]}, what pandas writes, pretty rows."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

# What matters to where an object begins and ends; a vector in base64 has none of it.
_TOKEN = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL)

# Whole documents (what pandas writes by column) are read at once up to here.
LARGEST_DOCUMENT = 4 << 30
# A row has about 3,000 bytes; an object that has no end for so long is something else.
LARGEST_OBJECT = 64 << 20

# Names of the list of rows in what a service answers.
LISTS = ("rows", "data", "records", "items")
_LIST_NAMES = {name.encode() for name in LISTS}


# How a JSON text holds its rows.
LINES, ARRAY, WRAPPED, DOCUMENT, OBJECTS = "a row a line", "an array", "a wrapped list", "columns", "rows over lines"

_LIST_AHEAD = re.compile(rb'"(?:' + "|".join(LISTS).encode() + rb')"\s*:\s*\[')
_COLUMNS_AHEAD = re.compile(rb'\{\s*"(?:[^"]{1,60}"\s*:\s*\{|(?:columns|index|schema)"\s*:\s*[\[{])')
_BLANK = b"\xef\xbb\xbf \t\r\n"


def shape_of(head: bytes) -> str:
    """How a JSON text that begins so holds its rows; a row a line where nothing says otherwise."""
    start = head.lstrip(_BLANK)
    first, _, rest = start.partition(b"\n")
    whole = _loaded(first.strip().rstrip(b","))
    if start[:1] == b"[":
        return LINES if rest.strip() and isinstance(whole, list) and not any(map(_is_object, whole)) else ARRAY
    if start[:1] != b"{":
        return LINES
    if isinstance(whole, dict):
        if _is_row(whole):
            return LINES
        if any(isinstance(whole.get(name), list) for name in LISTS) and "columns" not in whole:
            return WRAPPED
        columns = "columns" in whole or isinstance(whole.get("gridimage_id"), list)
        return DOCUMENT if columns or (whole and all(map(_is_object, whole.values()))) else LINES
    if _COLUMNS_AHEAD.match(start):
        return DOCUMENT
    if _LIST_AHEAD.search(start[:4096]):
        return WRAPPED
    return OBJECTS if _spans_lines(head) else LINES


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_row(row: dict) -> bool:
    if isinstance(row.get("gridimage_id"), dict | list):
        return False
    return any(name in row and not isinstance(row[name], dict) for name in ("gridimage_id", "embeddings", "embedding"))


def _spans_lines(head: bytes) -> bool:
    """Whether the first object is whole and ends on a later line than it begins."""
    text = next(objects([head], 0), b"")
    return b"\n" in text.strip() and isinstance(_loaded(text), dict)


def lines_of(chunks: Iterable[bytes], shape: str) -> Iterator[bytes]:
    """A text of that shape → its rows, one a line, in chunks. Rows are told apart by their braces, whatever is in
    them.

    Raises:
        ValueError: a document by columns that is broken, too large, or without rows.
    """
    depth = {OBJECTS: 0, ARRAY: 1, WRAPPED: 2}
    found = _of_document(chunks) if shape == DOCUMENT else objects(chunks, depth[shape])
    waiting, size = [], 0
    for text in found:
        waiting.append(text.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
        size += len(text)
        if size > 1 << 20:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def objects(chunks: Iterable[bytes], depth: int) -> Iterator[bytes]:
    """The text of each object that stands `depth` brackets or braces deep; two deep, of those in `LISTS` only."""
    data, place, start, level, key = b"", 0, None, 0, b""
    for chunk in chunks:
        data += chunk
        while match := _TOKEN.search(data, place):
            token = match[0]
            if token == b'"':
                end = _STRING_END.match(data, match.end())
                if end is None:
                    place = match.start()
                    break
                place = end.end()
                if level == 1:
                    key = data[match.end() : place - 1]
                continue
            place = match.end()
            if token in b"{[":
                if level == depth and token == b"{" and (depth != 2 or key in _LIST_NAMES):
                    start = match.start()
                level += 1
            else:
                level -= 1
                if level == depth and token == b"}" and start is not None:
                    yield data[start:place]
                    start = None
        else:
            place = len(data)
        keep = place if start is None else start
        data, place, start = data[keep:], place - keep, None if start is None else 0
        if len(data) > LARGEST_OBJECT:
            raise ValueError(f"a JSON object of more than {LARGEST_OBJECT >> 20} MiB; are these rows?")
    if level > 0 and depth:
        raise ValueError("cut short: its JSON ends early; fetch it again")
    if start is not None:
        yield data  # a row that is broken JSON


def _of_document(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What pandas' `to_json` writes by column, by index, split or as a table."""
    parts, size = [], 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > LARGEST_DOCUMENT:
            raise ValueError("a JSON document by columns of more than 4 GB; write a row a line (lines=True)")
    try:
        document = json.loads(b"".join(parts).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"broken JSON: {error}") from None
    for row in rows_of_document(document):
        yield json.dumps(row).encode()


def rows_of_document(document: Any) -> Iterator[Any]:
    """A whole document → its rows.

    Raises:
        ValueError: it has none.
    """
    if isinstance(document, list):
        yield from document
        return
    if isinstance(document, dict) and isinstance(document.get("gridimage_id"), list):
        columns = {name: column for name, column in document.items() if isinstance(column, list)}
        if len({*map(len, columns.values())}) > 1:
            lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise ValueError(f"its columns are of different lengths: {lengths}"[:300])
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))
        return
    if (
        isinstance(document, dict)
        and isinstance(document.get("columns"), list)
        and isinstance(document.get("data"), list)
    ):
        names = document["columns"]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two columns are named {doubled!r}; keep one")
        for values in document["data"]:
            if len(values) != len(names):
                raise ValueError(f"a row of {len(values)} values, and there are {len(names)} columns")
            yield dict(zip(names, values, strict=True))
        return
    for name in LISTS:
        if isinstance(document, dict) and isinstance(document.get(name), list):
            yield from document[name]
            return
    if isinstance(document, dict) and document and all(isinstance(value, dict) for value in document.values()):
        if "gridimage_id" in document:  # by column
            for index in document["gridimage_id"]:
                yield {name: column[index] for name, column in document.items() if index in column}
        else:  # by index
            yield from document.values()
        return
    raise ValueError("a JSON document without rows")
