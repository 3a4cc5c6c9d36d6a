"""Answers as columns, and as the bytes of .parquet, .jsonl and .csv; no Python object a row where nothing odd is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pybase64

from decision_geograph import OTHER_SQUARE, choose
from geograph_types.files import FORMULA
from names_geograph import tag_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

NO_SOURCE, FROM_MODEL, FROM_GEOMETRY = 0, 1, 2
SOURCES = pa.array([None, "model", "geometry"])


@dataclass
class Answers:
    """The predictions of some rows, in the order of the input."""

    key: pa.Array  # int64 gridimage_id, or string path [n]
    classes: list[str]
    scores: np.ndarray  # float32 [n, C], probabilities; anything where there is an error
    chosen: np.ndarray  # bool [n, C]
    source: np.ndarray  # int8 [n], NO_SOURCE, FROM_MODEL or FROM_GEOMETRY
    note: list[str | None] | None = None  # None: nowhere
    error: list[str | None] | None = None  # None: nowhere
    embedding: np.ndarray | None = None  # float32 [n, 512], where the vectors are to be written

    def __len__(self) -> int:
        return len(self.key)

    @property
    def failed(self) -> np.ndarray:
        """bool [n], where there is an error."""
        if self.error is None:
            return np.zeros(len(self), dtype=bool)
        return np.array([error is not None for error in self.error], dtype=bool)


def answer(
    key: pa.Array,
    probabilities: np.ndarray,
    thresholds: list[float],
    classes: list[str],
    *,
    verdict: np.ndarray | None = None,
    doubts: list[str | None] | None = None,
    remarks: list[str | None] | None = None,
    errors: list[str | None] | None = None,
    embedding: np.ndarray | None = None,
) -> Answers:
    """`decide` for many rows at once, with no Python object a row where nothing odd happens.

    Args:
        probabilities: float32 [n, C]. verdict: int8 [n], see `choose`.
        doubts: what to say of row i, if its Cross Far is doubted. remarks: what to say of row i in any case.
        errors: why a row could not be done; its numbers do not count then.
    """
    chosen, doubted = choose(probabilities, thresholds, classes, verdict)
    if errors is not None:
        chosen[[error is not None for error in errors]] = False
    far = chosen[:, classes.index("Cross Far")] if "Cross Far" in classes else np.zeros(len(chosen), dtype=bool)
    source = far.astype(np.int8)
    note = None if remarks is None else list(remarks)
    if verdict is not None:
        source[far & (verdict == OTHER_SQUARE)] = FROM_GEOMETRY
        if doubted.any() and doubts is not None:
            note = note or [None] * len(chosen)
            for i in np.flatnonzero(doubted):
                note[i] = "; ".join(text for text in (doubts[i], note[i]) if text)
    if note is not None and errors is not None:
        note = [None if error else text for text, error in zip(note, errors, strict=True)]
    return Answers(key, classes, probabilities, chosen, source, note, errors, embedding)


def schema_of(key: str, classes: list[str], embeddings: bool) -> pa.Schema:
    """The columns of a Parquet file of answers; `key` is gridimage_id or path."""
    fields = [
        pa.field(key, pa.int64() if key == "gridimage_id" else pa.string()),
        pa.field("types", pa.list_(pa.string())),
        pa.field("scores", pa.struct([(name, pa.float32()) for name in classes])),
        *(pa.field(name, pa.string()) for name in ("cross_grid", "note", "error")),
    ]
    if embeddings:
        fields.append(pa.field("embedding", pa.list_(pa.float32())))
    return pa.schema(fields)


def to_batch(answers: Answers, schema: pa.Schema) -> pa.RecordBatch:
    """Answers → the columns of `schema`, each built from whole buffers."""
    n, failed = len(answers), answers.failed
    mask = pa.array(failed) if failed.any() else None
    columns = np.ascontiguousarray(answers.scores.T)
    arrays = [
        answers.key,
        types_of(answers),
        pa.StructArray.from_arrays(
            [pa.array(c) for c in columns], fields=list(schema.field("scores").type), mask=mask
        ),
        SOURCES.take(pa.array(answers.source)),
        _strings(answers.note, n),
        _strings(answers.error, n),
    ]
    if answers.embedding is not None:
        arrays.append(_vectors(answers.embedding, failed))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _strings(texts: list[str | None] | None, n: int) -> pa.Array:
    if texts is None:
        return pa.nulls(n, pa.string())
    return pa.array([None if text is None else whole_text(text) for text in texts], pa.string())


def whole_text(text: str) -> str:
    """Text that UTF-8 can hold: what stands for other bytes in a file's name becomes a question mark."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def types_of(answers: Answers) -> pa.ListArray:
    """list<string> [n]: the types of each row, its best first; a Cross Grid that coordinates show before all."""
    chosen, scores = answers.chosen, answers.scores
    shown = answers.source == FROM_GEOMETRY
    if shown.any():
        scores = scores.copy()
        scores[shown, answers.classes.index("Cross Far")] = np.inf
    count = chosen.sum(axis=1)
    offsets = np.zeros(len(chosen) + 1, dtype=np.int32)
    np.cumsum(count, out=offsets[1:])
    rows, values = np.nonzero(chosen)
    several = count[rows] > 1
    if several.any():
        # Within a row by falling score; at equal ones in class order, as `nonzero` gives them.
        order = np.lexsort((-scores[rows[several], values[several]], rows[several]))
        values[several] = values[several][order]
    names = pa.array([tag_of(name) for name in answers.classes])
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(values)))


def _vectors(embedding: np.ndarray, failed: np.ndarray) -> pa.ListArray:
    width = embedding.shape[1]
    offsets = np.zeros(len(embedding) + 1, dtype=np.int32)
    np.cumsum(np.where(failed, 0, width), out=offsets[1:])
    values = pa.array((embedding[~failed] if failed.any() else embedding).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(failed) if failed.any() else None)


def to_json_lines(answers: Answers, key: str) -> bytes:
    """One object a line; scores in descending order, as the pipeline gives them."""
    n, classes = len(answers), answers.classes
    notes, errors = _strings(answers.note, n).to_pylist(), _strings(answers.error, n).to_pylist()
    scores = answers.scores.astype(np.float64)
    order = np.argsort(-scores, axis=1, kind="stable")
    values = np.take_along_axis(scores, order, axis=1).tolist()
    names = np.array(classes, dtype=object)[order].tolist()
    types, sources = types_of(answers).to_pylist(), SOURCES.take(pa.array(answers.source)).to_pylist()
    keys, failed = answers.key.to_pylist(), answers.failed
    lines = []
    for i in range(n):
        line: dict[str, Any] = {
            key: keys[i],
            "types": types[i],
            "scores": None if failed[i] else dict(zip(names[i], values[i], strict=True)),
            "cross_grid": sources[i],
            "note": notes[i],
            "error": errors[i],
        }
        if answers.embedding is not None:
            vector = answers.embedding[i].astype("<f4").tobytes()
            line["embeddings"] = None if failed[i] else pybase64.b64encode(vector).decode()
        lines.append(orjson.dumps(line))
    return b"\n".join(lines) + b"\n" if lines else b""


def to_csv(answers: Answers, schema: pa.Schema, heading: bool) -> bytes:
    """Types joined by commas, a column a class. Text that a spreadsheet would run as a formula begins with a '."""
    batch = to_batch(answers, schema)
    struct = batch.column("scores")
    columns = [batch.column(0), pc.binary_join(batch.column("types"), ",")]
    # flatten() hands the struct's nulls on to its fields.
    columns += struct.flatten()
    columns += [batch.column(name) for name in ("cross_grid", "note", "error")]
    columns = [_harmless(column) if pa.types.is_string(column.type) else column for column in columns]
    names = [schema.names[0], "types", *answers.classes, "cross_grid", "note", "error"]
    names = _harmless(pa.array(names)).to_pylist()
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(
        pa.RecordBatch.from_arrays(columns, names=names), sink, pyarrow.csv.WriteOptions(include_header=heading)
    )
    return sink.getvalue().to_pybytes()


def _harmless(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, FORMULA, "'\\1")


def no_answers(schema: pa.Schema, classes: list[str]) -> Answers:
    """None at all: a heading's columns."""
    shape = (0, len(classes))
    key = pa.array([], schema.field(0).type)
    return Answers(key, classes, np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(0, np.int8))
