"""From folders here to names on a Hub and back: published, then used by name in fresh processes with empty caches."""

import json

import pytest
from hub_server import HubServer
from publishing import Publisher, hub_environment, run_fresh, write_dataset, write_model

MODEL, DATA = "user/geograph-type-classifier", "user/geograph-types"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("made")
    write_dataset(made / "geograph-types", rows=6)
    write_model(made / "first", seed=1)
    write_model(made / "second", seed=2)
    write_model(made / "synthetic", synthetic=True)
    return made


@pytest.fixture(scope="module")
def hub(folders, tmp_path_factory):
    """A Hub with a dataset and two versions of a model, the newest of each published twice."""
    with HubServer() as server, Publisher(hub_environment(server.url, tmp_path_factory.mktemp("home"))) as publish:
        server.publish = publish
        for arguments in (
            ("model", "--path", folders / "first", "--repo_id", MODEL, "--tag", "v1.0"),
            ("model", "--path", folders / "second", "--repo_id", MODEL),
            ("model", "--path", folders / "second", "--repo_id", MODEL),
            ("dataset", "--path", folders / "geograph-types", "--repo_id", DATA, "--tag", "v1.0"),
            ("dataset", "--path", folders / "geograph-types", "--repo_id", DATA, "--tag", "v1.0"),
        ):
            answer = publish(*arguments)
            assert answer.status == 0, answer.err
        yield server


@pytest.fixture
def reader(hub, tmp_path):
    """The environment of someone without a token and with an empty cache."""
    return hub_environment(hub.url, tmp_path, user="")


def test_each_version_is_one_commit(hub):
    repo = hub.repos["models", MODEL]
    assert len(repo.messages) == 3  # the Hub's own, and two versions
    assert repo.messages[1].startswith("Geograph type classifier, made with geograph-type-classifier 1.0.0")
    assert len(hub.repos["datasets", DATA].messages) == 2


USE_MODEL = """
import json, sys
import numpy as np
import torch
from transformers import AutoConfig, AutoModel, pipeline
name, sums = {name!r}, []
for revision in ("main", "v1.0"):
    model = AutoModel.from_pretrained(name, trust_remote_code=True, revision=revision)
    sums.append(sum(p.double().sum().item() for p in model.parameters()))
with torch.no_grad():
    logits = model(torch.ones(1, 512), torch.tensor([5])).logits
classify = pipeline("geograph-types", model=name, trust_remote_code=True, revision="v1.0")
answer = classify({{"embedding": np.ones(512, dtype="float32")}}, distance=16)
refused = []
for load in (AutoConfig.from_pretrained, AutoModel.from_pretrained):
    try:
        load(name)
    except ValueError as error:
        refused.append("trust_remote_code=True" in str(error))
print()
print(json.dumps([sums, logits.sigmoid()[0].tolist(), answer, refused]))
"""


def test_the_model_by_name(hub, folders, reader, tmp_path):
    from safetensors.torch import load_file

    out = run_fresh(USE_MODEL.format(name=MODEL), reader, tmp_path)
    sums, probabilities, answer, refused = json.loads(out.splitlines()[-1])
    expected = [
        sum(value.double().sum().item() for value in load_file(folders / version / "model.safetensors").values())
        for version in ("second", "first")
    ]
    assert sums == pytest.approx(expected), "`revision` pins the weights"
    config = json.loads((folders / "first" / "config.json").read_text())
    assert [answer["scores"][name] for name in config["classes"]] == pytest.approx(probabilities, abs=1e-5)
    assert answer["types"] and answer["error"] is None
    assert refused == [True, True], "code from the Hub runs only for those who say so"


USE_DATASET = """
import json
from datasets import load_dataset
whole = load_dataset({name!r}, "small")
default = load_dataset({name!r}, split="test", revision="v1.0")
streamed = list(load_dataset({name!r}, "small", split="validation", streaming=True))
print(json.dumps([
    whole.num_rows, whole["train"].features["types"].feature.names, whole["train"][0], default.num_rows, streamed[5]
]))
"""


def test_the_dataset_by_name(hub, folders, reader, tmp_path):
    import pyarrow.parquet as pq

    from configuration_geograph import TAGS

    out = run_fresh(USE_DATASET.format(name=DATA), reader, tmp_path)
    rows, tags, first, default_rows, streamed = json.loads(out.splitlines()[-1])
    assert rows == {"train": 6, "validation": 6, "test": 6} and tags == TAGS and default_rows == 6
    table = pq.read_table(folders / "geograph-types" / "small" / "validation-00000-of-00001.parquet")
    assert [first, streamed] == [table.slice(0, 1).to_pylist()[0], table.slice(5, 1).to_pylist()[0]]


def test_a_private_dataset_is_for_its_owner(hub, folders, tmp_path):
    answer = hub.publish("dataset", "--path", folders / "geograph-types", "--repo_id", "user/hidden", "--private")
    assert answer.status == 0, answer.err
    code = (
        "from datasets import load_dataset\n"
        "try:\n    print(load_dataset('user/hidden', 'small', split='test').num_rows)\n"
        "except FileNotFoundError:\n    print('refused')"
    )
    for user, says in (("", "refused"), ("test", "6")):
        home = tmp_path / says
        home.mkdir()
        assert run_fresh(code, hub_environment(hub.url, home, user=user), home).split()[-1] == says


def test_a_synthetic_model_is_published_on_purpose_only(hub, folders):
    arguments = ("model", "--path", folders / "synthetic", "--repo_id", "user/synthetic")
    answer = hub.publish(*arguments)
    assert answer.status == 1 and "synthetic rows" in answer.err and "--allow_synthetic" in answer.err
    assert ("models", "user/synthetic") not in hub.repos
    answer = hub.publish(*arguments, "--allow_synthetic")
    assert answer.status == 0, answer.err
    assert json.loads(hub.repos["models", "user/synthetic"].files["config.json"].content)["synthetic"] is True
