"""Doubtful labels: found where a model that has not seen a row contradicts all of them; listed for a moderator."""

import csv
import json

import numpy as np
import pytest

from geograph_types.rows.fields import Rows
from geograph_types.training.folds import deal
from geograph_types.training.label_noise import LOWERED, doubtful, noise_factor, suggestions, write_suggestions
from geograph_types.training.labels import training_targets
from names_geograph import CLASSES, TAGS
from tests.support.commands import in_process, made_dataset


def one_hot(names, vocabulary=CLASSES):
    return np.array([[entry in name.split(",") for entry in vocabulary] for name in names], dtype=np.float32)


def sure_of(names, p=0.95):
    return np.where(one_hot(names) > 0, p, 0.02)


def test_only_a_confident_contradiction_is_doubtful():
    given = one_hot(["Aerial", "Inside", "Inside", "Extra", "Geograph,Extra"])
    said = sure_of(["Aerial", "Inside", "Aerial", "Extra", "Geograph"])
    assert doubtful(said, given).tolist() == [False, False, True, False, False]
    assert noise_factor(said, given).tolist() == pytest.approx([1, 1, LOWERED, 1, 1])


def test_an_unlikely_rare_type_alone_is_not_doubtful():
    given = one_hot(["From Drone"] * 20 + ["Geograph"] * 20)
    said = sure_of(["Aerial"] * 40, p=0.3)  # nothing is likely: no class is missing for sure
    said[20:, CLASSES.index("Geograph")] = 0.9
    assert not doubtful(said, given).any()


def test_rows_of_a_rare_class_are_listed_but_keep_their_weight():
    given = one_hot(["Aerial"] * 98 + ["Inside"] * 3 + ["From Drone"])
    said = sure_of(["Aerial"] * 98 + ["Inside"] * 2 + ["Aerial"] * 2)
    said[100:, CLASSES.index("Aerial")] = 0.97
    assert np.flatnonzero(doubtful(said, given)).tolist() == [100, 101]
    assert np.flatnonzero(noise_factor(said, given) < 1).tolist() == [100]


def test_as_sure_as_of_that_class_s_own_rows():
    given = one_hot(["Aerial"] * 9 + ["Inside"])
    said = sure_of(["Aerial"] * 9 + ["Aerial"], p=0.9)
    said[9, 0] = 0.7  # above a half, yet below what Aerial's own rows get
    assert not doubtful(said, given).any()
    said[9, 0] = 0.91
    assert doubtful(said, given).tolist() == [False] * 9 + [True]


def test_the_list_says_what_a_moderator_needs(tmp_path):
    tags = one_hot(["Aerial", "Inside,Extra", "Cross Grid", "Aerial"], TAGS) > 0
    rows = Rows(
        gridimage_id=np.array([11, 12, 13, 14]),
        tags=tags,
        distance=np.zeros(4, dtype=np.uint8),
        embedding=np.zeros((4, 512), dtype=np.float32),
        weight=np.ones(4, dtype=np.float32),
    )
    said = sure_of(["Aerial", "Cross Far", "Cross Far", "Aerial"], p=0.96)
    said[2, CLASSES.index("Cross Far")] = 0.9
    found = suggestions(rows, said, training_targets(tags, rows.distance))
    write_suggestions(tmp_path / "noise.csv", found)
    with (tmp_path / "noise.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {
                "gridimage_id": "12",
                "types": "Extra,Inside",
                "suggestion": "Cross Grid",  # Cross Far is the model's own name
                "probability": "0.96",
                "page": "https://www.geograph.org.uk/photo/12",
            }
        ]


def test_folds_depend_on_the_id_alone():
    ids = np.arange(1, 5001)
    place = deal(ids, 4, seed=3)
    assert (deal(ids[::-1], 4, seed=3) == place[::-1]).all()
    assert np.bincount(place).min() > 1100
    assert (deal(ids, 4, seed=4) != place).any()


@pytest.mark.slow
def test_training_finds_wrong_labels_and_learns_from_the_rest(tmp_path):
    """On rows a tenth of whose labels are wrong: the listed ones are mostly wrong, and hidden from nobody."""

    data, model = tmp_path / "rows", tmp_path / "model"
    made_dataset(data, "synthetic:3000:5:0.1:0.7")
    done = in_process(
        "train", "--dataset", data, "--dataset_config", "large", "--output_dir", model,
        "--num_train_epochs", 20, "--disable_tqdm", "True",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "contradicted" in done.stderr
    with (model / "label_noise.csv").open() as file:
        listed = {int(entry["gridimage_id"]): entry for entry in csv.DictReader(file)}
    # The same rows without the noise tell which labels are wrong.
    from geograph_types.rows.parquet import iterate_parquet
    from geograph_types.rows.sources import dataset_files

    clean = tmp_path / "clean"
    made_dataset(clean, "synthetic:3000:5:0:0")
    truth = {}
    for split in ("train", "validation"):
        for part in iterate_parquet(dataset_files(str(clean), "large", split)):
            for identity, tags in zip(part.gridimage_id.tolist(), part.tags, strict=True):
                truth[identity] = {tag for tag, on in zip(TAGS, tags, strict=True) if on}
    wrong = [identity for identity, entry in listed.items() if not set(entry["types"].split(",")) & truth[identity]]
    assert len(listed) > 40
    assert len(wrong) > 0.8 * len(listed)
    right = [i for i in wrong if listed[i]["suggestion"] in truth[i]]
    assert len(right) > 0.7 * len(wrong)
    assert not (model / "out_of_fold.npz").exists()
    config = json.loads((model / "config.json").read_text())
    assert config["thresholds"] != [0.5] * 7
