"""The log that people read: a JSON line a list, with what was in it and what the service said."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from geograph_types.files import full_disk_named
from geograph_types.labelling.journal import EMBEDDINGS, READY, PostedList

LABEL = re.compile(rb'"label":"([^"]*)"')


class Log:
    """Appends to `--output`; a line that a kill cut off is removed when the file is opened."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b", buffering=0)
        if path.is_file():
            self._remove_torn_line()

    def _remove_torn_line(self) -> None:
        end = self._file.seek(0, 2)
        while end:
            start = max(0, end - (1 << 20))
            self._file.seek(start)
            place = self._file.read(end - start).rfind(b"\n")
            if place >= 0:
                end = start + place + 1
                break
            end = start
        self._file.truncate(end)
        self._file.seek(0, 2)

    def last_number(self) -> int | None:
        """The number in the last line: a kill may come after a line and before the journal knows of it."""
        end = self._file.seek(0, 2)
        size = 1 << 16
        while end:
            self._file.seek(max(0, end - size))
            lines = self._file.read().splitlines()
            if len(lines) > 1 or size >= end:
                return _number_in(lines[-1])
            size *= 8
        return None

    def write(self, posted: PostedList, submitted: bool = True) -> None:
        """One line; vectors are left out, as nobody reads them."""
        line = memoryview(orjson.dumps(line_of(posted, submitted)) + b"\n")
        with full_disk_named(self._path):
            while line:
                line = line[self._file.write(line) :]

    def close(self) -> None:
        self._file.close()


def _number_in(line: bytes) -> int | None:
    try:
        return orjson.loads(line)["number"]
    except (ValueError, KeyError, TypeError):
        return None


def line_of(posted: PostedList, submitted: bool) -> dict[str, Any]:
    """What the log says of a list; its entries stand there as they are posted."""
    if posted.kind == EMBEDDINGS:
        found = {"image_ids": [entry["image_id"] for entry in orjson.loads(posted.body)]}
    else:
        counted = posted.counted
        if counted is None:
            labels = Counter(LABEL.findall(posted.body))
            counted = {name.decode(): number for name, number in labels.most_common()}
        found = {"labels": counted, "list": orjson.Fragment(posted.body)}
    state = "kept" if posted.state == READY else posted.state
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "number": posted.number,
        "kind": posted.kind,
        "photos": posted.photos,
        "outcome": state if submitted else "not posted",
        "status": posted.status,
        "answer": posted.answer,
        **found,
    }
