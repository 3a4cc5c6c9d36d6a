"""Answers to .parquet, .jsonl or .csv: column by column, and kept so that a stopped run goes on where it was."""

import fcntl
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pybase64

from decision_geograph import OTHER_SQUARE, choose
from geograph_types.cli import CommandError, say
from geograph_types.files import whole_file
from names_geograph import tag_of

SUFFIXES = (".parquet", ".jsonl", ".csv")

# Seconds between two notes of how far the answers are: what a sudden end costs at most.
CHECKPOINT_SECONDS = 1.0

# Rows a Parquet row group; fewer where each carries 2 KB of embedding, so that a group stays below 100 MB.
ROW_GROUP, ROW_GROUP_WITH_EMBEDDINGS = 65536, 32768

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
    verdict: np.ndarray | None = None,
    notes: list[str | None] | None = None,
    errors: list[str | None] | None = None,
    embedding: np.ndarray | None = None,
) -> Answers:
    """`decide` for many rows at once, with no Python object a row where nothing odd happens.

    Args:
        probabilities: float32 [n, 7]. verdict: int8 [n], see `choose`. notes: what to say of row i, if it is doubted.
        errors: why a row could not be done; its numbers do not count then.
    """
    chosen, doubted = choose(probabilities, thresholds, classes, verdict)
    if errors is not None:
        chosen[[error is not None for error in errors]] = False
    far = chosen[:, classes.index("Cross Far")] if "Cross Far" in classes else np.zeros(len(chosen), dtype=bool)
    source = far.astype(np.int8)
    note = None
    if verdict is not None:
        source[far & (verdict == OTHER_SQUARE)] = FROM_GEOMETRY
        if doubted.any() and notes is not None:
            note = [text if on else None for text, on in zip(notes, doubted, strict=True)]
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
        pa.nulls(n, pa.string()) if answers.note is None else pa.array(answers.note, pa.string()),
        pa.nulls(n, pa.string()) if answers.error is None else pa.array(answers.error, pa.string()),
    ]
    if answers.embedding is not None:
        arrays.append(_vectors(answers.embedding, failed))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


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
            "note": None if answers.note is None else answers.note[i],
            "error": None if answers.error is None else answers.error[i],
        }
        if answers.embedding is not None:
            vector = answers.embedding[i].astype("<f4").tobytes()
            line["embeddings"] = None if failed[i] else pybase64.b64encode(vector).decode()
        lines.append(orjson.dumps(line))
    return b"\n".join(lines) + b"\n" if lines else b""


def to_csv(answers: Answers, schema: pa.Schema, heading: bool) -> bytes:
    """Types joined by commas, a column a class."""
    batch = to_batch(answers, schema)
    struct = batch.column("scores")
    columns = [batch.column(0), pc.binary_join(batch.column("types"), ",")]
    # flatten() hands the struct's nulls on to its fields.
    columns += struct.flatten()
    columns += [batch.column(name) for name in ("cross_grid", "note", "error")]
    names = [schema.names[0], "types", *answers.classes, "cross_grid", "note", "error"]
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(
        pa.RecordBatch.from_arrays(columns, names=names), sink, pyarrow.csv.WriteOptions(include_header=heading)
    )
    return sink.getvalue().to_pybytes()


class AnswerFile:
    """Answers on their way to a file that appears whole or not at all.

    Until then they lie in `OUTPUT.partial/`, one file that only grows, beside a note of how far it is good and of what
    it was made from. A run with the same `identity` goes on from there, any other starts anew.

    Attributes:
        done: how much of the input earlier runs have answered, in the units of `write`. rows, errors: their counts.
    """

    def __init__(self, output: str | Path, key: str, classes: list[str], embeddings: bool, identity: dict[str, Any]):
        self.output = Path(output)
        self.format = self.output.suffix.lower()
        self.key = key
        self.schema = schema_of(key, classes, embeddings)
        self.identity = json.loads(json.dumps({**identity, "format": self.format, "columns": self.schema.names}))
        self.folder = self.output.with_name(f"{self.output.name}.partial")
        self.done = self.rows = self.errors = 0
        self._open()

    def _open(self) -> None:
        if self.output.is_dir():
            raise CommandError(f"{self.output}: a folder; name a file that ends in {', '.join(SUFFIXES)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._journal = (self.folder / "answers").open("ab")
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{self.output}: another run is writing it; wait for it, or end it") from None
        size = self._resume()
        self._journal.truncate(size)
        self._journal.seek(size)
        if not size and self.format == ".parquet":
            self._journal.write(self.schema.serialize())
        self._saved = -CHECKPOINT_SECONDS  # so that the first answers are kept at once

    def _resume(self) -> int:
        """Bytes of the journal that are good."""
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
            size = state["size"]
        except (OSError, ValueError, KeyError):
            return 0
        before = state.get("identity", {})
        if changed := sorted(k for k in before | self.identity if before.get(k) != self.identity.get(k)):
            say(f"{self.folder}: begun with another {', '.join(changed)}; starting anew")
            return 0
        if size > os.fstat(self._journal.fileno()).st_size:
            say(f"{self.folder}: damaged; starting anew")
            return 0
        self.done, self.rows, self.errors = state["done"], state["rows"], state["errors"]
        if self.rows:
            say(f"{self.folder}: going on after {self.rows:,} answers")
        return size

    def write(self, answers: Answers, done: int) -> None:
        """Appends answers; `done` says how much of the input is then answered."""
        if self.format == ".parquet":
            self._journal.write(to_batch(answers, self.schema).serialize())
        elif self.format == ".jsonl":
            self._journal.write(to_json_lines(answers, self.key))
        else:
            self._journal.write(to_csv(answers, self.schema, heading=not self._journal.tell()))
        self.rows += len(answers)
        self.errors += int(answers.failed.sum())
        self.done = done
        if time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            self._save()

    def _save(self) -> None:
        self._journal.flush()
        os.fdatasync(self._journal.fileno())
        counts = {"done": self.done, "rows": self.rows, "errors": self.errors}
        with whole_file(self.folder / "state.json") as file:
            json.dump({"size": self._journal.tell(), **counts, "identity": self.identity}, file)
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Puts the file in its place and removes what was kept beside it."""
        if not self._journal.tell() and self.format == ".csv":
            empty = Answers(pa.array([], self.schema.field(0).type), self._classes(), *_nothing(len(self._classes())))
            self._journal.write(to_csv(empty, self.schema, heading=True))
        self._save()
        journal = self.folder / "answers"
        if self.format == ".parquet":
            self._to_parquet(journal)
        else:
            journal.replace(self.output)
        self._journal.close()
        shutil.rmtree(self.folder)

    def _classes(self) -> list[str]:
        return [f.name for f in self.schema.field("scores").type]

    def _to_parquet(self, journal: Path) -> None:
        embeddings = "embedding" in self.schema.names
        group = ROW_GROUP_WITH_EMBEDDINGS if embeddings else ROW_GROUP
        options = {
            # Numbers have no repetitions worth looking for.
            "use_dictionary": ["types.list.element", "cross_grid", "note", "error"],
            "compression": "zstd",
            "write_page_index": True,
        }
        with (
            whole_file(self.output, "wb") as file,
            pq.ParquetWriter(file, self.schema, **options) as writer,
            journal.open("rb") as source,
        ):
            for table in _regrouped(pa.ipc.open_stream(source), group):
                writer.write_table(table, row_group_size=group)


def _regrouped(batches, size: int):
    """Batches of any size → tables of `size` rows: the file does not depend on where a run was stopped."""
    waiting, rows = [], 0
    for batch in batches:
        waiting.append(batch)
        rows += len(batch)
        while rows >= size:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, size).combine_chunks()
            waiting, rows = table.slice(size).to_batches(), rows - size
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _nothing(classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, classes), np.float32), np.zeros((0, classes), bool), np.zeros(0, np.int8)
