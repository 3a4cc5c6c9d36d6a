"""What moderators said of single tags, applied to the rows on their way into a dataset.

A CSV with a head: `gridimage_id`, `tag`, `answer`; yes gives the photo the tag, no takes it away. The page that
find_photos.py writes makes such a file; so can anybody.
"""

import csv
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.rows.fields import Rejected, SourceRows, keep
from names_geograph import TAGS
from row_geograph import parse_id

COLUMNS = ("gridimage_id", "tag", "answer")
ANSWERS = {"yes": True, "no": False, "add": True, "remove": False}


@dataclass
class Corrections:
    """Photo → tag (index into TAGS) → whether it has it. `used` counts what was changed, for the card."""

    by_photo: dict[int, dict[int, bool]]
    used: Counter = field(default_factory=Counter)  # (tag, added) → rows
    unchanged: int = 0  # answers that said what the row said already
    met: int = 0  # photos that were in the sources

    def __post_init__(self) -> None:
        self._ids = np.sort(np.fromiter(self.by_photo, np.int64, len(self.by_photo)))

    def apply(self, block: SourceRows, source: str) -> SourceRows:
        """The block with its tags corrected; a row that loses its only tag joins the rejected ones."""
        if not len(block) or not len(self._ids):
            return block
        places = np.searchsorted(self._ids, block.gridimage_id)
        hits = np.flatnonzero(self._ids[np.minimum(places, len(self._ids) - 1)] == block.gridimage_id)
        if not len(hits):
            return block
        types, lists, good = block.types.copy(), list(block.type_lists), np.ones(len(block), bool)
        numbers = {tags: number for number, tags in enumerate(lists)}
        for place in hits.tolist():
            image_id = int(block.gridimage_id[place])
            tags = self._corrected(image_id, lists[types[place]])
            if not tags:
                good[place] = False
                reason = "no tag is left after the corrections"
                block.rejected.append(Rejected(source, int(block.line[place]), reason, image_id))
                continue
            if tags not in numbers:
                numbers[tags] = len(lists)
                lists.append(tags)
            types[place] = numbers[tags]
        block = replace(block, types=types, type_lists=lists)
        return block if good.all() else keep(block, good)

    def _corrected(self, image_id: int, tags: tuple[int, ...]) -> tuple[int, ...]:
        self.met += 1
        found = list(tags)
        for tag, wanted in self.by_photo[image_id].items():
            if wanted == (tag in found):
                self.unchanged += 1
                continue
            found.append(tag) if wanted else found.remove(tag)
            self.used[TAGS[tag], wanted] += 1
        return tuple(found)

    def described(self) -> str:
        """A sentence for the card: what was asked for, what it changed."""
        answers = sum(len(tags) for tags in self.by_photo.values())
        changes = [
            f"{tag} {'added to' if added else 'taken from'} {number:,} {'row' if number == 1 else 'rows'}"
            for (tag, added), number in sorted(self.used.items())
        ]
        rest = [f"{self.unchanged:,} changed nothing"] if self.unchanged else []
        absent = len(self.by_photo) - self.met
        rest += [f"{absent:,} {'photo was' if absent == 1 else 'photos were'} not in the sources"] if absent else []
        return f"People corrected {answers:,} {'tag' if answers == 1 else 'tags'}: {'; '.join(changes + rest)}."


def read_corrections(paths: list[str] | list[Path]) -> Corrections:
    """Reads the files; the same answer may stand there twice.

    Raises:
        CommandError: a file or a line that cannot be used, or two answers that contradict, with file and line.
    """
    by_photo: dict[int, dict[int, bool]] = {}
    for path in map(Path, paths):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                    raise CommandError(f"{path}: no column {missing[0]!r}; expected {','.join(COLUMNS)}")
                if doubled := next((name for name in COLUMNS if reader.fieldnames.count(name) > 1), None):
                    raise CommandError(f"{path}: two columns are named {doubled!r}; keep one")
                for row in reader:
                    _read_line(row, f"{path}, line {reader.line_num}", by_photo)
        except FileNotFoundError:
            raise CommandError(f"{path}: no such file of corrections") from None
        except (csv.Error, UnicodeError) as error:
            raise CommandError(f"{path}: not a CSV file ({error})") from None
    return Corrections(by_photo)


def _read_line(row: dict[str, str | None], where: str, by_photo: dict[int, dict[int, bool]]) -> None:
    tag, answer = ((row[name] or "").strip() for name in ("tag", "answer"))
    try:
        image_id = parse_id((row["gridimage_id"] or "").strip())
    except ValueError as error:
        raise CommandError(f"{where}: {error}") from None
    if tag not in TAGS:
        raise CommandError(f"{where}: unknown tag {tag!r}; known are {', '.join(TAGS)}")
    if answer.lower() not in ANSWERS:
        raise CommandError(f"{where}: answer {answer!r}; expected yes or no")
    wanted = ANSWERS[answer.lower()]
    if by_photo.setdefault(image_id, {}).setdefault(TAGS.index(tag), wanted) != wanted:
        raise CommandError(f"{where}: photo {image_id} has both yes and no for {tag}; keep one")
