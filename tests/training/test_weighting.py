"""Factors on weights, and cross-fitting: what a fold's model says of a row does not depend on that row's label."""

import csv

import numpy as np
import pytest

from configuration_geograph import GeographConfig
from geograph_types.cli import CommandError
from geograph_types.rows.fields import Rows
from geograph_types.training.folds import deal, out_of_fold_logits
from geograph_types.training.foreground import LOWERED
from geograph_types.training.trainer import GeographTrainingArguments, LabelArguments
from geograph_types.training.weighting import FOREGROUND_LIST, KEPT, NOISE_LIST, WeightingArguments, weigh
from modeling_geograph import GeographModel
from names_geograph import TAGS


def make_rows(n: int, seed: int = 0) -> Rows:
    """Rows of two classes that a direction of the embedding tells apart."""
    generator = np.random.default_rng(seed)
    inside = generator.random(n) < 0.5
    embedding = generator.standard_normal((n, 512)).astype(np.float32)
    embedding[:, 0] += np.where(inside, 6, -6)
    tags = np.zeros((n, len(TAGS)), dtype=bool)
    tags[inside, TAGS.index("Inside")] = True
    tags[~inside, TAGS.index("Geograph")] = True
    return Rows(
        gridimage_id=np.arange(1, n + 1) + 10_000 * seed,
        tags=tags,
        distance=generator.integers(0, 23, n).astype(np.uint8),
        embedding=embedding,
        weight=np.ones(n, dtype=np.float32),
    )


def fresh_model(seed: int) -> GeographModel:
    import transformers

    transformers.set_seed(seed)
    return GeographModel(GeographConfig())


@pytest.fixture
def args(tmp_path) -> GeographTrainingArguments:
    return GeographTrainingArguments(
        output_dir=str(tmp_path / "run"), num_train_epochs=6, per_device_train_batch_size=64, use_cpu=True
    )


def asked(tmp_path, args, arguments, train, validation=None):
    return weigh(
        train, validation, fresh_model, arguments, LabelArguments(), args, 7, tmp_path, GeographConfig()
    )  # fmt: skip


def test_by_default_nothing_is_weighed(tmp_path, args):
    trust = asked(tmp_path, args, WeightingArguments(), make_rows(300), make_rows(50, 1))
    assert (trust.train == 1).all() and (trust.validation == 1).all()
    assert trust.unseen_logits is None
    assert list(tmp_path.glob("*.csv")) == []


def test_drones_and_foreground_rules_multiply(tmp_path, args):
    rows = make_rows(6)
    rows.tags[:] = False
    rows.tags[[0, 1], TAGS.index("From Drone")] = True
    rows.tags[[2, 3, 4], TAGS.index("From Above")] = True
    rows.tags[3, TAGS.index("Inside")] = True
    rows.tags[5, TAGS.index("Geograph")] = True
    rows.distance[:] = 12
    trust = asked(tmp_path, args, WeightingArguments(true_drone_weight=4.0, foreground_rules=True), rows)
    assert trust.train.tolist() == [4, 4, 1, LOWERED, 1, 1]
    with (tmp_path / FOREGROUND_LIST).open() as file:
        assert [entry["gridimage_id"] for entry in csv.DictReader(file)] == ["4", "3", "5"]


def test_the_text_filter_without_a_tower_says_how_to_get_one(tmp_path, args):
    rows = make_rows(5)
    rows.tags[:, TAGS.index("From Above")] = True
    arguments = WeightingArguments(foreground_filter=True, vision_model=str(tmp_path))
    with pytest.raises(CommandError, match="--vision_model DIR"):
        asked(tmp_path, args, arguments, rows)


def test_a_fold_is_judged_without_its_own_labels(args):
    train, validation = make_rows(400), make_rows(60, 1)

    def logits():
        return out_of_fold_logits(train, validation, fresh_model, LabelArguments(), args, 7, folds=2)

    before, held = logits()
    right = (before[:, 5] > before[:, 4]) == train.tags[:, TAGS.index("Inside")]
    assert right.mean() > 0.9
    assert held.shape == (60, 7)
    first = deal(train.gridimage_id, 2, args.seed) == 0
    train.tags[first] = False
    train.tags[first, TAGS.index("Aerial")] = True  # all labels of this fold change …
    after, _ = logits()
    assert (after[first] == before[first]).all()  # … and no answer about it, since none was looked at
    assert not np.allclose(after[~first], before[~first], atol=0.1)


def test_wrong_labels_are_found_listed_and_kept_for_going_on(tmp_path, args):
    train, validation = make_rows(600), make_rows(100, 1)
    wrong = np.arange(0, 600, 30)
    train.tags[wrong] = ~train.tags[wrong] & np.isin(TAGS, ["Inside", "Geograph"])
    arguments = WeightingArguments(folds=2, clean_labels=True)
    args.num_train_epochs = 20
    trust = asked(tmp_path, args, arguments, train, validation)
    lowered = np.flatnonzero(trust.train < 1)
    assert set(lowered) <= set(wrong) and len(lowered) >= 8  # the rest contradicts, but not confidently
    assert (trust.validation == 1).mean() > 0.95
    with (tmp_path / NOISE_LIST).open() as file:
        listed = {int(entry["gridimage_id"]) for entry in csv.DictReader(file)}
    assert set(train.gridimage_id[lowered].tolist()) <= listed
    assert (tmp_path / KEPT).is_file()
    args.num_train_epochs = 0.01  # would answer otherwise if it judged again
    again = asked(tmp_path, args, arguments, train, validation)
    assert (again.unseen_logits == trust.unseen_logits).all()


def test_few_rows_are_not_dealt_into_folds(tmp_path, args):
    assert asked(tmp_path, args, WeightingArguments(folds=2, clean_labels=True), make_rows(50)).unseen_logits is None
