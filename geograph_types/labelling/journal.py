"""What was answered and posted, kept beside the log, so that nothing is lost and nothing posted twice.

An SQLite file, `OUTPUT.journal`, knows each list and its photos. A list goes through these states:

| state | means | at the next start |
| --- | --- | --- |
| ready | answered; not sent, or refused by the service | it is posted |
| sending | on its way; on the disk before the first byte leaves | a kill came between: it becomes doubtful |
| taken | the service said so; on the disk before the next list leaves | its photos are never posted again |
| doubtful | it left, and no answer came | see below |

One write to the disk says both: that the last list was taken, and that the next one leaves.

**The rule for what is doubtful.** The service may have taken such a list or not, and nothing here can tell. The
service itself can: it hands out photos that it has no labels for. So a doubtful list is never posted again by itself;
but where the service, asked at least `SETTLE` seconds after the loss, hands out a photo of it, that photo was not
taken, and it is answered and posted anew. Whatever it does not hand out again, it has.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from filelock import FileLock, Timeout

from geograph_types.cli import CommandError
from geograph_types.labelling.owners import Owners

# Seconds after a loss before the service's handing out again counts: it may still be at work on the list.
SETTLE = 10.0

LABELS, EMBEDDINGS = "labels", "embeddings"
READY, SENDING, TAKEN, DOUBTFUL = "ready", "sending", "taken", "doubtful"

TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lists (
    number INTEGER PRIMARY KEY, kind TEXT, state TEXT, photos INTEGER, changed REAL, status INTEGER, answer TEXT,
    logged INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS bodies (number INTEGER PRIMARY KEY, body BLOB);
CREATE INDEX IF NOT EXISTS open_lists ON lists (state) WHERE state <> 'taken';
CREATE TABLE IF NOT EXISTS answered (number INTEGER PRIMARY KEY, image_ids BLOB);
"""


@dataclass(frozen=True)
class PostedList:
    """One list as it was or will be posted."""

    number: int
    kind: str  # LABELS or EMBEDDINGS
    state: str
    photos: int
    body: bytes
    status: int | None = None
    answer: str | None = None
    counted: dict[str, int] | None = None  # how often each label stands in it, where that is known already


@dataclass(frozen=True)
class New:
    """A list that was answered: its photos are known from now on."""

    kind: str
    body: bytes
    image_ids: Sequence[int]
    state: str = READY

    def note(self, base: sqlite3.Connection) -> int:
        """Gives the list its number."""
        number = base.execute(
            "INSERT INTO lists (kind, state, photos, changed) VALUES (?, ?, ?, ?)",
            (self.kind, self.state, len(self.image_ids), time.time()),
        ).lastrowid
        base.execute("INSERT INTO bodies VALUES (?, ?)", (number, self.body))
        if self.kind == LABELS:
            base.execute("INSERT INTO answered VALUES (?, ?)", (number, np.array(self.image_ids, "<i8").tobytes()))
        return number


@dataclass(frozen=True)
class Change:
    """A list's new state, with what the service said."""

    number: int
    state: str
    status: int | None = None
    answer: str | None = None

    def note(self, base: sqlite3.Connection) -> None:
        base.execute(
            "UPDATE lists SET state = ?, status = ?, answer = ?, changed = ?, logged = 0 WHERE number = ?",
            (self.state, self.status, self.answer, time.time(), self.number),
        )


@dataclass(frozen=True)
class Logged:
    """The log shows a list; of what was taken the journal keeps the photos' numbers only."""

    number: int

    def note(self, base: sqlite3.Connection) -> None:
        base.execute("UPDATE lists SET logged = 1 WHERE number = ?", (self.number,))
        taken = "DELETE FROM bodies WHERE number IN (SELECT number FROM lists WHERE number = ? AND state = ?)"
        base.execute(taken, (self.number, TAKEN))


class Journal:
    """The journal of one output; one process at a time holds it. `close` it, or use it as a context."""

    def __init__(self, output: Path, address: str, name: str):
        """Opens or begins it.

        Args:
            output: the log that it belongs to. address: the service's fingerprint. name: the service, for messages.

        Raises:
            CommandError: another process works on this output, or its lists are another service's.
        """
        self.output, self.path = output, output.with_name(f"{output.name}.journal")
        output.parent.mkdir(parents=True, exist_ok=True)
        self._file_lock = FileLock(output.with_name(f"{output.name}.lock"))
        try:
            self._file_lock.acquire(timeout=0)
        except Timeout:
            raise CommandError(f"{output}: another label.py works on it; wait for it, or name another one") from None
        self._lock, self._knowing = threading.Lock(), threading.Lock()
        try:
            self._open(address, name)
        except sqlite3.DatabaseError as error:
            self._file_lock.release()
            raise CommandError(f"{self.path}: not a journal of label.py ({error}); name another --output") from None
        except BaseException:
            self._file_lock.release()
            raise

    def _open(self, address: str, name: str) -> None:
        self._base = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")
        if self._base.execute("SELECT 1 FROM sqlite_master WHERE name = 'photos'").fetchone():
            raise CommandError(f"{self.path}: begun by an earlier label.py; name another --output")
        self._base.executescript(TABLES)
        known = dict(self._base.execute("SELECT key, value FROM about"))
        if known.get("address", address) != address:
            raise CommandError(
                f"{self.path}: its lists belong to {known.get('name')}; name that service's --url, or another --output"
            )
        self._base.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", [("address", address), ("name", name)])
        # By a connection of its own one reads while a list is being written to the disk.
        self._reader = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        told = self._base.execute("SELECT number, image_ids FROM answered ORDER BY number")
        self._owners = Owners((number, np.frombuffer(image_ids, "<i8")) for number, image_ids in told)
        # A kill between sending and the answer; `changed` stays when it was sent.
        self._base.execute("UPDATE lists SET state = ?, logged = 0 WHERE state = ?", (DOUBTFUL, SENDING))

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock, self._knowing:
            self._reader.close()
            self._base.close()
        self._file_lock.release()

    def note(self, *steps: "New | Change | Logged") -> list[int]:
        """Notes what happened, all of it or nothing; on the disk when this returns. Gives the numbers of new lists."""
        with self._writing():
            numbers = [step.note(self._base) for step in steps]
        with self._knowing:
            for step, number in zip(steps, numbers, strict=True):
                if isinstance(step, New) and step.kind == LABELS:
                    self._owners.put(step.image_ids, number)
        return [number for number in numbers if number is not None]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._lock, self._base:
                self._base.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise CommandError(f"{self.path}: {error} (is the disk full?)") from error

    def known(self, image_ids: list[int], asked_at: float) -> set[int]:
        """Those of the photos that must not be answered (again): on their way, kept, taken, or doubtful and not
        handed out again since (`asked_at`: when the service was asked that handed them out)."""
        with self._knowing:
            owners = self._owners.of(image_ids)
            if not owners:
                return set()
            query = (
                "SELECT number FROM lists WHERE number IN (SELECT value FROM json_each(?)) AND state = ? "
                "AND changed + ? <= ?"
            )
            told = (json.dumps([*{*owners.values()}]), DOUBTFUL, SETTLE, asked_at)
            handed_out_again = {number for (number,) in self._reader.execute(query, told)}
        return {image_id for image_id, number in owners.items() if number not in handed_out_again}

    def settling(self) -> float:
        """Seconds until the last doubtful list has settled; 0 where none has to."""
        with self._lock:
            (last,) = self._base.execute("SELECT MAX(changed) FROM lists WHERE state = ?", (DOUBTFUL,)).fetchone()
        return 0.0 if last is None else max(0.0, min(last + SETTLE - time.time(), SETTLE))

    def lists(self, *states: str) -> Iterator[PostedList]:
        """The lists in any of these states, oldest first, one at a time."""
        with self._lock:
            marks = ",".join("?" * len(states))
            numbers = self._base.execute(
                f"SELECT number FROM lists WHERE state IN ({marks}) ORDER BY number",  # noqa: S608 (question marks)
                states,
            ).fetchall()
        for (number,) in numbers:
            yield self.get(number)

    def get(self, number: int) -> PostedList:
        with self._lock:
            row = self._base.execute(
                "SELECT number, kind, state, photos, body, status, answer FROM lists LEFT JOIN bodies USING (number) "
                "WHERE number = ?",
                (number,),
            ).fetchone()
        return PostedList(*row)

    def counts(self) -> dict[str, int]:
        """State → lists."""
        with self._lock:
            return dict(self._base.execute("SELECT state, COUNT(*) FROM lists GROUP BY state"))

    def still_doubtful(self, posted: PostedList) -> bytes:
        """A doubtful list without the photos that were handed out and answered anew since."""
        body = orjson.loads(posted.body)
        with self._knowing:
            owners = self._owners.of([entry["image_id"] for entry in body])
        own = {image_id for image_id, number in owners.items() if number == posted.number}
        return orjson.dumps([entry for entry in body if posted.kind != LABELS or entry["image_id"] in own])

    def replace(self, number: int, body: bytes) -> None:
        """Other contents for a list, which is to be posted then."""
        with self._writing():
            self._base.execute("UPDATE bodies SET body = ? WHERE number = ?", (body, number))
            self._base.execute("UPDATE lists SET state = ? WHERE number = ?", (READY, number))

    def unlogged(self) -> Iterator[PostedList]:
        """Lists whose present state the log does not show yet, oldest first; ready ones only if they were tried."""
        with self._lock:
            numbers = self._base.execute(
                "SELECT number FROM lists WHERE logged = 0 AND state <> 'sending' "
                "AND (state <> 'ready' OR answer IS NOT NULL) ORDER BY changed, number"
            ).fetchall()
        for (number,) in numbers:
            yield self.get(number)
