"""The foreground rule: cheap rules on made tags, and the text way on a tiny tower of random weights."""

import csv
import json

import numpy as np
import pytest
import torch

from geograph_types.cli import CommandError
from geograph_types.rows.fields import Rows
from geograph_types.text_tower import prompt_vectors, similarities
from geograph_types.training import foreground
from geograph_types.training.foreground import (
    LOWERED,
    QUANTILE,
    by_rules,
    by_text,
    foreground_factor,
    foreground_scores,
    write_foreground_list,
)
from names_geograph import TAGS, UNKNOWN_BUCKET


def rows_of(names, buckets, embedding=None) -> Rows:
    n = len(names)
    return Rows(
        gridimage_id=np.arange(100, 100 + n),
        tags=np.array([[tag in name.split(",") for tag in TAGS] for name in names]),
        distance=np.array(buckets, dtype=np.uint8),
        embedding=np.zeros((n, 512), np.float32) if embedding is None else embedding,
        weight=np.ones(n, dtype=np.float32),
    )


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """A random CLIP text tower (projection_dim 512) with a tokenizer that knows single letters."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    folder = tmp_path_factory.mktemp("text-tower")
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPTextConfig(
            vocab_size=len(names),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=512,
            bos_token_id=len(names) - 2,
            eos_token_id=len(names) - 1,
        )
        CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_rules_find_pseudo_drones_inside_or_within_reach():
    rows = rows_of(
        [
            "From Above",
            "From Above,Inside",
            "From Above",
            "From Above",
            "From Above",
            "From Drone",
            "Inside",
            "Geograph",
        ],
        [10, 10, 2, 3, UNKNOWN_BUCKET, 0, 0, 0],
    )
    # 2 is 2 m, 3 is 4 m; not known is not near; a true drone is none of our business
    assert by_rules(rows.tags, rows.distance).tolist() == [False, True, True, *[False] * 5]
    factor, listed = foreground_factor(rows, use_text=False)
    assert factor.tolist() == [1, LOWERED, LOWERED, 1, 1, 1, 1, 1]
    assert [entry["gridimage_id"] for entry in listed] == [101, 102, 100, 103, 104]
    assert listed[0]["page"] == "https://www.geograph.org.uk/photo/101"


def test_text_scores_are_cosines_with_the_prompts(text_folder):
    vectors = prompt_vectors(foreground.FOREGROUND_PROMPTS + foreground.FREE_VIEW_PROMPTS, str(text_folder))
    assert vectors.shape == (8, 512)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    embedding = np.random.default_rng(0).standard_normal((6, 512)).astype(np.float32) * 10
    embedding[0] = 9 * vectors[:5].mean(0)
    embedding[1] = 9 * vectors[5:].mean(0)
    scores = foreground_scores(embedding, str(text_folder))
    expected = similarities(embedding, vectors)
    assert scores == pytest.approx(expected[:, :5].mean(1) - expected[:, 5:].mean(1), abs=1e-6)
    assert scores[0] > scores[1]
    assert foreground_scores(embedding * 3, str(text_folder)) == pytest.approx(scores, abs=1e-5)


def test_the_filter_lowers_the_upper_fifth_and_lists_both_ends(text_folder, tmp_path):
    vectors = prompt_vectors(foreground.FOREGROUND_PROMPTS + foreground.FREE_VIEW_PROMPTS, str(text_folder))
    mix = np.linspace(0, 1, 60, dtype=np.float32)[:, None]
    embedding = 10 * (mix * vectors[:5].mean(0) + (1 - mix) * vectors[5:].mean(0))
    names = ["From Above"] * 50 + ["Geograph"] * 10
    factor, listed = foreground_factor(rows_of(names, [12] * 60, embedding), True, str(text_folder))
    assert (factor[:40] == 1).all() and (factor[40:50] == LOWERED).all() and (factor[50:] == 1).all()
    scores = [entry["score"] for entry in listed]
    assert scores == sorted(scores, reverse=True) and len(scores) == 50
    write_foreground_list(tmp_path / "list.csv", listed)
    with (tmp_path / "list.csv").open() as file:
        shown = list(csv.DictReader(file))
    assert len(shown) == 2 * foreground.SHOWN
    assert shown[0]["page"] == f"https://www.geograph.org.uk/photo/{shown[0]['gridimage_id']}"
    assert (int(shown[0]["gridimage_id"]), int(shown[-1]["gridimage_id"])) == (149, 100)


def test_quantile_of_nothing():
    assert by_text(np.zeros(0)).tolist() == []
    assert by_text(np.arange(10.0)).sum() == round(10 * (1 - QUANTILE))


def test_a_missing_tower_is_one_line(tmp_path):
    with pytest.raises(CommandError, match=r"no CLIP text tower here .*name a folder"):
        prompt_vectors(["a photo"], str(tmp_path))


def test_another_clip_is_refused():
    with pytest.raises(ValueError, match=r"512 numbers and the text tower gives 768"):
        similarities(np.ones((2, 512), np.float32), np.ones((3, 768), np.float32))
