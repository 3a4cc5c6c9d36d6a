"""Which list has a photo, against a dict, across the step from the dict of recent ones to the sorted arrays."""

import numpy as np
import pytest

from geograph_types.cli import CommandError
from geograph_types.labelling import owners
from geograph_types.labelling.journal import LABELS, Journal, New
from geograph_types.labelling.owners import Owners


def test_the_last_list_of_a_photo_counts(monkeypatch):
    monkeypatch.setattr(owners, "RECENT", 50)
    generator, truth = np.random.default_rng(0), {}
    before = [(number, generator.integers(1, 200, 20)) for number in (1, 2, 3)]
    for number, image_ids in before:
        truth |= dict.fromkeys(image_ids.tolist(), number)
    found = Owners(before)
    for number in range(4, 60):
        image_ids = generator.integers(1, 2**53 if number % 9 == 0 else 400, 20).tolist()
        found.put(image_ids, number)
        truth |= dict.fromkeys(image_ids, number)
        asked = [*generator.integers(1, 500, 30).tolist(), *image_ids]
        assert found.of(asked) == {image_id: truth[image_id] for image_id in asked if image_id in truth}
    assert found.of([]) == {} == Owners().of([1])


def test_a_journal_knows_its_photos_when_it_is_opened_again(tmp_path):
    with Journal(tmp_path / "log.jsonl", "address", "name") as journal:
        journal.note(New(LABELS, b"[]", [5, 2**53]), New(LABELS, b"[]", [7, 5]))
        assert journal.known([5, 6, 7], 0.0) == {5, 7}
    with Journal(tmp_path / "log.jsonl", "address", "name") as journal:
        assert journal.known([5, 6, 7, 2**53], 0.0) == {5, 7, 2**53}
        journal._base.execute("CREATE TABLE photos (image_id INTEGER PRIMARY KEY, number INTEGER)")
    with pytest.raises(CommandError, match="name another --output"):
        Journal(tmp_path / "log.jsonl", "address", "name")
