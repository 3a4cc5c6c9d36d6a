"""Another tower's width, another list of classes, another number of buckets: from rows to answers."""

import base64
import csv
import json

import numpy as np
import pytest

from names_geograph import CLASSES
from tests.support.commands import in_process

WIDTH, BUCKETS = 768, 30
WITH_FROM_ABOVE = [*CLASSES, "From Above"]


def made_rows(count: int = 300) -> list[dict]:
    """Rows whose type a direction of the vector tells."""
    generator = np.random.default_rng(0)
    names = ["Geograph", "From Above", "From Drone", "Cross Grid"]
    rows = []
    for i in range(count):
        vector = generator.standard_normal(WIDTH).astype("<f4") * 0.4
        vector[i % 4] += 8
        distance = ["16", "Unknown", "", 1048576][i % 4]
        text = base64.b64encode(vector.tobytes()).decode()
        rows.append({"gridimage_id": i + 1, "types": names[i % 4], "distance": distance, "embeddings": text})
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made_rows()))
    return folder


def run(command: str, *flags) -> str:
    done = in_process(command, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_way_at_768_eight_classes_and_thirty_buckets(folder):
    rows, dataset, model = folder / "rows.jsonl", folder / "geograph-types", folder / "model"
    run("prepare_dataset", "--source", rows, "--output_dir", dataset, "--embedding_dim", WIDTH)
    run(
        "train", "--dataset", dataset, "--output_dir", model, "--classes", *WITH_FROM_ABOVE,
        "--num_distance_buckets", BUCKETS, "--num_train_epochs", 40, "--folds", 0,
        "--clean_labels", False, "--distance_faults", False,
        "--per_device_train_batch_size", 32,
    )  # fmt: skip
    config = json.loads((model / "config.json").read_text())
    assert (config["embedding_dim"], config["num_distance_buckets"]) == (WIDTH, BUCKETS)
    assert config["classes"] == WITH_FROM_ABOVE and len(config["thresholds"]) == 8
    run(
        "evaluate_model", "--model", model, "--dataset", dataset, "--split", "validation",
        "--output_dir", folder / "report", "--bootstrap", 0,
    )  # fmt: skip
    figures = json.loads((folder / "report" / "metrics.json").read_text())
    for name in ("Geograph", "From Above", "From Drone", "Cross Far"):
        assert figures["per_class"][name]["f1"] > 0.9, name
    run("predict", "--model", model, "--input", rows, "--output", folder / "answers.jsonl")
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    right = [answer["types"] == [row["types"]] for row, answer in zip(made_rows(), answers, strict=True)]
    assert np.mean(right) > 0.95
    # One From Above is tagged From Drone: the model, which keeps the two apart, finds it.
    wrong = [row | {"types": "From Drone"} if row["gridimage_id"] == 6 else row for row in made_rows()]
    (folder / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    flags = ["--input", folder / "wrong.jsonl", "--model", model, "--disagree", "--top", 1]
    run("find_photos", *flags, "--output", folder / "found.csv")
    (found,) = csv.DictReader((folder / "found.csv").read_text().splitlines())
    assert (found["gridimage_id"], found["tags"]) == ("6", "From Drone")
    assert found["tag_in_question"] in ("From Drone", "From Above")


def test_unknown_is_the_last_of_the_model_s_buckets(folder):
    """Thirty buckets used 22 for Unknown, a row of the table that no training row had."""
    import torch

    from configuration_geograph import GeographConfig
    from geograph_types.rows.fields import Rows
    from geograph_types.training.data import TrainingData
    from geograph_types.training.memory_rows import MemoryRows

    rows = Rows(
        np.arange(1, 4), np.ones((3, 8), bool), np.array([0, 21, 22], np.uint8), np.ones((3, 512), np.float32),
        np.ones(3, np.float32),
    )  # fmt: skip
    for buckets, expected in ((30, [0, 21, 29]), (23, [0, 21, 22]), (5, [0, 3, 4])):
        config = GeographConfig(num_distance_buckets=buckets)
        assert MemoryRows(TrainingData.of(rows, config)).distance.equal(torch.tensor(expected, dtype=torch.int32))
