"""Training from Python: the page's blocks as they stand, datasets of every kind, folders that stay whole."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset
from transformers import Trainer

from configuration_geograph import GeographConfig
from geograph_types.hub.model_folder import TRAVELLING_FILES
from geograph_types.rows.parquet import read_parquet
from geograph_types.training.data import TrainingData
from geograph_types.training.memory_rows import MemoryRows, as_it_is
from geograph_types.training.published import rows_of_dataset
from geograph_types.training.trainer import GeographTrainer
from geograph_types.training.training_arguments import GeographTrainingArguments
from modeling_geograph import GeographModel
from tests.conftest import ROOT
from tests.test_docs_code import blocks_of


@pytest.fixture(scope="module")
def rows(dataset):
    return load_dataset(str(dataset), "small")


def arguments(folder: Path, **flags) -> GeographTrainingArguments:
    return GeographTrainingArguments(output_dir=str(folder), max_steps=2, use_cpu=True, disable_tqdm=True, **flags)


def test_the_page_runs_as_it_stands(dataset, tmp_path):
    text = (ROOT / "docs" / "training_from_python.md").read_text()
    shutil.copytree(dataset, tmp_path / "geograph-types")
    names: dict = {"__name__": "page"}
    with contextlib.chdir(tmp_path):
        for line, code in blocks_of(text):
            exec(compile(code, f"training_from_python.md, the block at line {line}", "exec"), names)  # noqa: S102
        names["trainer"].args.max_steps = 2
        assert names["trainer"].train().metrics["train_loss"] > 0
    assert 0 < names["found"]["figures"]["f1_macro"] < 1
    assert isinstance(names["trainer"].train_dataset[0]["types"], list), "the last one reads the dataset itself"
    assert set(TRAVELLING_FILES) <= {path.name for path in (tmp_path / "my-model").iterdir()}


def test_a_dataset_s_rows_are_those_of_its_file(dataset, rows):
    (file,) = (dataset / "small").glob("train-*.parquet")
    expected, found = read_parquet([file]), rows_of_dataset(rows["train"])
    for name in ("gridimage_id", "tags", "distance", "embedding", "weight"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    some = rows["train"].select([5, 3])
    assert rows_of_dataset(some).gridimage_id.tolist() == expected.gridimage_id[[5, 3]].tolist()
    without = rows_of_dataset(rows["train"].remove_columns(["distance_bucket", "weight"]))
    assert np.array_equal(without.distance, expected.distance) and (without.weight == 1).all()


def test_what_cannot_be_trained_on_is_refused(rows):
    few = rows["train"].select(range(3)).to_list()

    def changed(**columns):
        from datasets import Dataset

        return Dataset.from_list([row | columns for row in few])

    for change, message in (
        ({"weight": -1.0}, "weight"),
        ({"types": ["Aeriel"]}, "unknown tag 'Aeriel'"),
        ({"embedding": [float("nan")] * 512}, "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            rows_of_dataset(changed(**change))
    assert rows_of_dataset(changed(types=["Inside", "Aerial"])).tags.sum() == 6


def test_a_loss_given_to_the_trainer_is_used(rows, tmp_path):
    seen = []

    def loss(outputs, labels, num_items_in_batch=None):
        seen.append(num_items_in_batch)
        return outputs.logits.square().sum() / (num_items_in_batch or len(labels))

    trainer = GeographTrainer(
        GeographModel(GeographConfig()), arguments(tmp_path, save_strategy="no"), train_dataset=rows["train"],
        eval_dataset=rows["validation"], compute_loss_func=loss,
    )  # fmt: skip
    trainer.train()
    assert seen and seen[0] == min(1024, len(rows["train"]))


USE = """
import sys
import numpy as np
from transformers import AutoModel, pipeline
for folder in sys.argv[1:]:
    classify = pipeline("geograph-types", model=folder, trust_remote_code=True)
    answer = classify({"embedding": np.ones(512, np.float32)})
    assert answer["types"] and answer["error"] is None, answer
    again = AutoModel.from_pretrained(folder, trust_remote_code=True)
    again.save_pretrained(folder + "-again")
    classify = pipeline("geograph-types", model=folder + "-again", trust_remote_code=True)
    assert classify({"embedding": np.ones(512, np.float32)})["scores"] == answer["scores"]
    assert again.as_pipeline()({"embedding": np.ones(512, np.float32)})["scores"] == answer["scores"]
"""


def test_every_folder_that_is_saved_has_its_pipeline(rows, tmp_path):
    """Saved by hand, by transformers' own Trainer, from an official checkpoint; read in one fresh process."""
    torch.manual_seed(0)
    model = GeographModel(GeographConfig())
    model.save_pretrained(tmp_path / "by-hand")
    data = MemoryRows(TrainingData.of(rows_of_dataset(rows["train"]), model.config))
    args = arguments(tmp_path / "stock", eval_strategy="no", save_strategy="steps", save_steps=2)
    Trainer(model, args, as_it_is, data).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["dist_emb.weight"] = torch.cat([state["dist_emb.weight"], torch.zeros(1, 16)])
    torch.save({"model_state_dict": state}, tmp_path / "official.pth")
    official, _ = GeographModel.load_checkpoint(tmp_path / "official.pth")
    official.save_pretrained(tmp_path / "official")
    assert json.loads((tmp_path / "official" / "config.json").read_text())["cross_far_min_distance"] == 256
    folders = [tmp_path / "by-hand", tmp_path / "stock" / "checkpoint-2", tmp_path / "official"]
    done = subprocess.run(
        [sys.executable, "-c", USE, *map(str, folders)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
