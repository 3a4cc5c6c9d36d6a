"""Answers on their way to a file: kept beside it, so that a stopped run goes on, and then put in its place."""

import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geograph_types.cli import CommandError, say
from geograph_types.files import full_disk_named, remove_stale, whole_file
from geograph_types.prediction.formats import (
    BYTE_ORDER_MARK,
    Answers,
    no_answers,
    schema_of,
    to_batch,
    to_csv,
    to_json_lines,
)
from geograph_types.stopping import when_stopped

SUFFIXES = (".parquet", ".jsonl", ".csv")

# Seconds between two notes of how far the answers are: what a sudden end costs at most.
CHECKPOINT_SECONDS = 1.0

# Rows a Parquet row group; fewer where each carries 2 KB of embedding, so that a group stays below 100 MB.
ROW_GROUP, ROW_GROUP_WITH_EMBEDDINGS = 65536, 32768


class AnswerFile:
    """Answers on their way to a file that appears whole or not at all.

    Until then they lie in `OUTPUT.partial/`, one file that only grows, beside a note of how far it is good and of what
    it was made from. A run with the same `identity` goes on from there, any other starts anew. Use it as a context.

    Attributes:
        done: how much of the input earlier runs have answered, as `write` was told; None: nothing.
        rows, errors: their counts. first_error: the first of them. resumed: the rows of earlier runs.
    """

    def __init__(
        self,
        output: str | Path,
        key: str,
        classes: list[str],
        identity: dict[str, Any],
        *,
        embeddings: bool = False,
        byte_order_mark: bool = False,
    ):
        self.output = Path(output)
        self.format = self.output.suffix.lower()
        self.key, self.classes = key, classes
        self.schema = schema_of(key, classes, embeddings)
        self.start = BYTE_ORDER_MARK if byte_order_mark else b""
        own = {"format": self.format, "columns": self.schema.names, "excel": byte_order_mark}
        self.identity = json.loads(json.dumps({**identity, **own}))
        self.folder = self.output.with_name(f"{self.output.name}.partial")
        self.done: Any = None
        self.rows = self.errors = self.resumed = 0
        self.first_error: str | None = None
        self._open()

    def _open(self) -> None:
        if self.output.is_dir():
            raise CommandError(f"{self.output}: a folder; name a file that ends in {', '.join(SUFFIXES)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale(self.output)
        remove_stale(self.folder / "state.json")
        self._journal = (self.folder / "answers").open("ab")
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{self.output}: another run is writing it; wait for it, or end it") from None
        size = self._resume()
        self._journal.truncate(size)
        self._journal.seek(size)
        if not size:
            self._journal.write(self.schema.serialize() if self.format == ".parquet" else self.start)
        self._saved = -CHECKPOINT_SECONDS  # so that the first answers are kept at once
        self._kept = self.rows
        when_stopped(self._what_is_kept)

    def _what_is_kept(self) -> str:
        if not self._kept:
            return f"no answers were kept yet, and {self.output} was not written"
        return f"{self._kept:,} answers are kept in {self.folder}: the same command goes on from there"

    def _resume(self) -> int:
        """Bytes of the journal that are good."""
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
            size, before, counts = state["size"], state["identity"], [state[name] for name in ("rows", "errors")]
            done, first_error = state["done"], state["first_error"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if changed := sorted(k for k in before | self.identity if before.get(k) != self.identity.get(k)):
            say(f"{self.folder}: begun with another {', '.join(changed)}; starting anew")
            return 0
        if size > os.fstat(self._journal.fileno()).st_size:
            say(f"{self.folder}: damaged; starting anew")
            return 0
        self.done, self.first_error, (self.rows, self.errors) = done, first_error, counts
        self.resumed = self.rows
        if self.rows:
            say(f"{self.folder}: going on after {self.rows:,} answers")
        return size

    def write(self, answers: Answers, done: Any) -> None:
        """Appends answers; `done`, any JSON, says how much of the input is then answered."""
        with full_disk_named(self.folder):
            self._append(answers)
            self.done = done
            if time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
                self._save()

    def _append(self, answers: Answers) -> None:
        if self.format == ".parquet":
            self._journal.write(to_batch(answers, self.schema).serialize())
        elif self.format == ".jsonl":
            self._journal.write(to_json_lines(answers, self.key))
        else:
            heading = self._journal.tell() == len(self.start)
            self._journal.write(to_csv(answers, self.schema, heading=heading))
        self.rows += len(answers)
        if answers.error is not None and (errors := [error for error in answers.error if error is not None]):
            self.errors += len(errors)
            self.first_error = self.first_error or errors[0]

    def _save(self) -> None:
        self._journal.flush()
        os.fdatasync(self._journal.fileno())
        counts = {"done": self.done, "rows": self.rows, "errors": self.errors, "first_error": self.first_error}
        with whole_file(self.folder / "state.json") as file:
            json.dump({"size": self._journal.tell(), **counts, "identity": self.identity}, file)
        self._saved, self._kept = time.monotonic(), self.rows

    def finish(self) -> None:
        """Puts the file in its place and removes what was kept beside it."""
        with full_disk_named(self.folder):
            self._put_in_place()
        when_stopped(lambda: f"{self.output} is whole")
        self._close()

    def _put_in_place(self) -> None:
        if self.format == ".csv" and self._journal.tell() == len(self.start):
            self._journal.write(to_csv(no_answers(self.schema, self.classes), self.schema, heading=True))
        self._save()
        journal = self.folder / "answers"
        if self.format == ".parquet":
            self._to_parquet(journal)
        else:
            journal.replace(self.output)

    def discard(self) -> None:
        """Removes what was kept: there is nothing worth a file."""
        when_stopped(None)
        self._close()

    def __enter__(self) -> "AnswerFile":
        return self

    def __exit__(self, *error: object) -> None:
        with full_disk_named(self.folder):
            self._journal.close()  # what it holds stays, for the next run

    def _close(self) -> None:
        self._journal.close()
        shutil.rmtree(self.folder)

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
