"""Factors on weights, and cross-fitting: what a fold's model says of a row does not depend on that row's label."""

import csv

import numpy as np
import pytest
from transformers import AutoConfig

from geograph_types.cli import CommandError
from geograph_types.hub.run_files import FOREGROUND_LIST, NOISE_LIST, OUT_OF_FOLD
from geograph_types.rows.fields import Rows
from geograph_types.training.arguments import (
    Arguments,
    DataArguments,
    LabelArguments,
    ModelArguments,
    WeightingArguments,
)
from geograph_types.training.data import TrainingData
from geograph_types.training.folds import deal, out_of_fold
from geograph_types.training.foreground import LOWERED
from geograph_types.training.run import Run
from geograph_types.training.training_arguments import GeographTrainingArguments
from geograph_types.training.weighting import apply_weighting
from names_geograph import TAGS
from tests.conftest import ROOT


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


@pytest.fixture
def make_run(tmp_path):
    """A run in an empty folder, of few epochs."""

    def make(train: Rows, validation: Rows | None = None, epochs: float = 6, **weighting) -> Run:
        args = GeographTrainingArguments(
            output_dir=str(tmp_path / "run"), num_train_epochs=epochs, per_device_train_batch_size=64, use_cpu=True,
            disable_tqdm=True,
        )  # fmt: skip
        if validation is None:
            args.eval_strategy, args.load_best_model_at_end = "no", False
        config, labels = AutoConfig.from_pretrained(ROOT, trust_remote_code=True), LabelArguments()
        arguments = Arguments(ModelArguments(), DataArguments(), labels, WeightingArguments(**weighting), args)
        data = [None if rows is None else TrainingData.of(rows, config, labels) for rows in (train, validation)]
        (tmp_path / "run").mkdir(exist_ok=True)
        return Run(arguments, tmp_path / "run", config, None, *data, None, {"seed": 1}, None, False)

    return make


def weighted(run: Run) -> Run:
    apply_weighting(run)
    return run


def test_by_default_all_weigh_the_same(make_run):
    run = weighted(make_run(make_rows(300), make_rows(50, 1)))
    assert (run.train.factor == 1).all() and (run.validation.factor == 1).all()
    assert run.train.unseen_logits is None
    assert list(run.output.glob("*.csv")) == []


def test_drones_and_foreground_rules_multiply(make_run):
    rows = make_rows(6)
    rows.tags[:] = False
    rows.tags[[0, 1], TAGS.index("From Drone")] = True
    rows.tags[[2, 3, 4], TAGS.index("From Above")] = True
    rows.tags[3, TAGS.index("Inside")] = True
    rows.tags[5, TAGS.index("Geograph")] = True
    rows.distance[:] = 12
    run = weighted(make_run(rows, true_drone_weight=4.0, foreground_rules=True))
    assert run.train.factor.tolist() == [4, 4, 1, LOWERED, 1, 1]
    with (run.output / FOREGROUND_LIST).open() as file:
        assert [entry["gridimage_id"] for entry in csv.DictReader(file)] == ["4", "3", "5"]


def test_the_text_filter_without_a_tower_says_how_to_get_one(tmp_path, make_run):
    rows = make_rows(5)
    rows.tags[:, TAGS.index("From Above")] = True
    run = make_run(rows, foreground_filter=True, vision_model=str(tmp_path))
    with pytest.raises(CommandError, match="--vision_model DIR"):
        apply_weighting(run)


def test_a_fold_is_predicted_without_its_own_labels(make_run):
    train, validation = make_rows(400), make_rows(60, 1)

    def logits():
        found = out_of_fold(make_run(train, validation, folds=2))
        return found.train, found.validation

    before, held = logits()
    right = (before[:, 5] > before[:, 4]) == train.tags[:, TAGS.index("Inside")]
    assert right.mean() > 0.9
    assert held.shape == (60, 7)
    first = deal(train.gridimage_id, 2, 42) == 0
    train.tags[first] = False
    train.tags[first, TAGS.index("Aerial")] = True  # all labels of this fold change …
    after, _ = logits()
    assert (after[first] == before[first]).all()  # … and no answer about it, since none was looked at
    assert not np.allclose(after[~first], before[~first], atol=0.1)


def test_wrong_labels_are_found_listed_and_kept_for_going_on(make_run):
    train, validation = make_rows(600), make_rows(100, 1)
    wrong = np.arange(0, 600, 30)
    train.tags[wrong] = ~train.tags[wrong] & np.isin(TAGS, ["Inside", "Geograph"])
    asked = {"folds": 2, "clean_labels": True}
    run = weighted(make_run(train, validation, 20, **asked))
    lowered = np.flatnonzero(run.train.factor < 1)
    assert set(lowered) <= set(wrong) and len(lowered) >= 8  # the rest contradicts, but not confidently
    assert (run.validation.factor == 1).mean() > 0.95
    with (run.output / NOISE_LIST).open() as file:
        listed = {int(entry["gridimage_id"]) for entry in csv.DictReader(file)}
    assert set(train.gridimage_id[lowered].tolist()) <= listed
    assert (run.output / OUT_OF_FOLD).is_file()
    again = weighted(make_run(train, validation, 0.01, **asked))  # so few epochs would answer otherwise
    assert (again.train.unseen_logits == run.train.unseen_logits).all()
    other = make_run(train, validation, 0.01, **asked)
    other.settings = {"seed": 2}
    assert not (weighted(other).train.unseen_logits == run.train.unseen_logits).all()


def test_few_rows_are_not_dealt_into_folds(make_run):
    assert weighted(make_run(make_rows(50), folds=2, clean_labels=True)).train.unseen_logits is None
