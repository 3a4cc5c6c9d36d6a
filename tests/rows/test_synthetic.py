"""Synthetic rows: the same every time, in the official layout, with something to learn in them."""

import json

import numpy as np
import pytest

from geograph_types.rows.fields import SourceRows
from geograph_types.rows.jsonl import parse_block
from geograph_types.rows.synthetic import lines_of, parse_spec
from geograph_types.training.labels import training_targets


def made(spec: str) -> SourceRows:
    block = parse_block(b"".join(lines_of(spec)), 1, spec)
    assert not block.rejected
    return block


def test_the_same_count_and_seed_give_the_same_rows():
    assert b"".join(lines_of("synthetic:1500:3")) == b"".join(lines_of("synthetic:1500:3"))
    assert b"".join(lines_of("synthetic:500:3")) != b"".join(lines_of("synthetic:500:4"))
    assert len(b"".join(lines_of("synthetic:1500:3")).splitlines()) == 1500
    assert json.loads(next(lines_of("synthetic:1"))).keys() >= {"gridimage_id", "types", "distance", "embeddings"}


def test_rows_look_like_official_ones():
    rows = made("synthetic:6000")
    assert len(np.unique(rows.gridimage_id)) == 6000
    norm = np.linalg.norm(rows.embedding, axis=1)
    assert 9 < np.median(norm) < 11
    assert (rows.tags.mean(axis=0) > 0.001).all()  # all eight, From Above and From Drone apart
    assert 0.1 < (rows.bucket == 22).mean() < 0.25
    assert np.bincount(rows.split, minlength=3) / 6000 == pytest.approx([0.8, 0.1, 0.1], abs=0.03)


def test_ids_are_unique_in_large_sets():
    starts = [
        json.loads(line.split(b',"types"')[0] + b"}")
        for block in lines_of("synthetic:30000")
        for line in block.split(b"\n")
        if line
    ]
    assert len({row["gridimage_id"] for row in starts}) == 30000


def test_there_is_something_to_learn():
    """A linear probe, by least squares, is right about most rows that it has not seen."""
    rows = made("synthetic:4000:1")
    targets = training_targets(rows.tags, rows.bucket)
    inputs = np.c_[rows.embedding, np.ones(len(rows))]
    seen = rows.split == 0
    known = inputs[seen].astype(np.float64)
    weights = np.linalg.solve(known.T @ known + np.eye(513), known.T @ (targets[seen] * 2 - 1))
    best = (inputs[~seen] @ weights).argmax(axis=1)
    assert targets[~seen][np.arange(len(best)), best].mean() > 0.8


def test_noise_and_missing_drones_spoil_only_what_is_trained_on():
    clean, hard = made("synthetic:4000:5"), made("synthetic:4000:5:0.1:0.7")
    assert (clean.embedding == hard.embedding).all()
    changed = (clean.tags != hard.tags).any(axis=1)
    test = clean.split == 2
    assert not changed[test].any()
    assert 0.05 < changed[~test].mean() < 0.2
    drones = [rows.tags[~test][:, 4:6].any(axis=1).sum() for rows in (clean, made("synthetic:4000:5:0:0.7"))]
    assert 0.15 < drones[1] / drones[0] < 0.45


@pytest.mark.parametrize("spec", ["synthetic:", "synthetic:0", "synthetic:ten", "synthetic:5:x", "synthetic:5:1:2"])
def test_other_words_are_refused(spec):
    with pytest.raises(ValueError, match="expected synthetic:N"):
        parse_spec(spec)
