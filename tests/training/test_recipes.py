"""Recipes are flags of train.py, and the flags do what they say."""

import re

import numpy as np
import pytest

from geograph_types.training import recipes
from geograph_types.training.arguments import flags_of_file, recipe_of
from geograph_types.training.distances import shuffle_distances
from geograph_types.training.labels import true_drone_factor
from geograph_types.training.recipes import RECIPES, as_flags
from names_geograph import CLASSES, TAGS, UNKNOWN_BUCKET


@pytest.fixture
def parse():
    from geograph_types.training.arguments import parse

    return lambda *flags: {
        name: value
        for part in parse("Trains", ["--output_dir", "unused", *flags])
        for name, value in vars(part).items()
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_setting_of_a_recipe_is_a_flag_and_arrives(parse, recipe):
    flags = parse("--recipe", recipe)
    for name, value in RECIPES[recipe].items():
        assert flags[name] == value, name


def test_the_official_recipes_are_as_published():
    v1, v23 = RECIPES["official-v1"], RECIPES["official-v2.3"]
    assert v1["learning_rate"] == 1e-3 and v1["per_device_train_batch_size"] == 1024
    assert (v1["num_train_epochs"], v1["patience"]) == (50, 7)
    assert (v23["distance_dropout"], v23["cross_far_scramble"]) == (0.3, 1.0)
    assert v1.get("distance_dropout", 0) == 0
    # In the official notebook the rule by distance is commented out: the weight is the column's.
    assert "weights" not in v1 and "weights" not in v23


def test_a_flag_overrides_its_recipe(parse):
    assert parse("--distance_dropout", "0.1")["distance_dropout"] == 0.1
    assert parse("--recipe=official-v2.3", "--cross_far_scramble", "0.5")["cross_far_scramble"] == 0.5


@pytest.mark.parametrize("last", [("--recipe", "official-v2.3"), ("--recipe=official-v2.3",)])
def test_of_two_recipes_the_last_one_is_taken_whole(parse, tmp_path, last):
    """As of any flag; and a file's gives way to the command line's."""
    whole = parse("--recipe", "official-v2.3")
    for first in (("--recipe", "default"), ("--recipe=default",)):
        found = parse(*first, *last)
        assert {name: found[name] for name in (*RECIPES["default"], "recipe")} == {
            name: whole[name] for name in (*RECIPES["default"], "recipe")
        }
    (tmp_path / "args.json").write_text('{"recipe": "default", "output_dir": "unused"}')
    assert recipe_of([*flags_of_file(tmp_path / "args.json"), *last]) == "official-v2.3"
    (tmp_path / "args.yaml").write_text("seed: 1\npatience: 3\nseed: 2\n")
    with pytest.raises(SystemExit):
        flags_of_file(tmp_path / "args.yaml")


def test_an_unknown_recipe_is_refused(parse, capsys):
    with pytest.raises(ValueError, match=r"--recipe must be one of official-v1, official-v2.3, default, got 'x'"):
        as_flags("x")
    with pytest.raises((ValueError, SystemExit)):
        parse("--recipe", "x")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--distance_shuffle", "1.5"], "--distance_shuffle is a share between 0 and 1"),
        (["--true_drone_weight", "-1"], "--true_drone_weight is a factor of 0 or more"),
        (["--folds", "1"], "--folds is 0 \\(none\\) or at least 2"),
        (["--folds", "0"], "--clean_labels needs --folds"),
    ],
)
def test_impossible_settings_are_wrong_usage(parse, capsys, flags, message):
    with pytest.raises(SystemExit) as stopped:
        parse(*flags)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_table_in_the_docstring_is_the_table():
    for name in ("distance_dropout", "cross_far_scramble", "distance_shuffle"):
        cells = re.search(rf"\| {name} +\|(.*)\|", recipes.__doc__).group(1).split("|")
        assert [float(cell) for cell in cells] == [RECIPES[recipe].get(name, 0) for recipe in RECIPES]


def test_shuffled_distances_of_any_class():
    bucket = np.array([5] * 8000 + [UNKNOWN_BUCKET] * 2000, dtype=np.uint8)
    shuffled = shuffle_distances(bucket, 0.4, np.random.default_rng(0))
    assert (shuffled[8000:] == UNKNOWN_BUCKET).all()  # what is not known stays so
    assert shuffled[:8000].max() < UNKNOWN_BUCKET and shuffled.dtype == np.uint8
    assert (shuffled[:8000] != 5).mean() == pytest.approx(0.4 * 21 / 22, abs=0.02)
    assert len(np.unique(shuffled[:8000])) == UNKNOWN_BUCKET
    assert (shuffle_distances(bucket, 0.0, np.random.default_rng(0)) == bucket).all()


def test_true_drones_weigh_more():
    tags = np.array([[tag == name for tag in TAGS] for name in ("From Drone", "From Above", "Geograph")])
    assert true_drone_factor(tags, 3.0).tolist() == [3, 1, 1]
    assert len(CLASSES) == 7
