"""From folders here to names on a Hub and back: published, then used by name in fresh processes with empty caches."""

import base64
import contextlib
import importlib.metadata
import json
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from names_geograph import TAGS
from tests.support.publishing import hub_environment, pushed, run_fresh, write_model

MODEL, DATA = "user/geograph-type-classifier", "user/geograph-types"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What the commands made, and a second version of the model."""
    made = tmp_path_factory.mktemp("versions")
    write_model(made / "second", seed=2)
    write_model(made / "synthetic", synthetic=True)
    for name in ("geograph-types", "geograph-type-classifier"):
        (made / name).symlink_to(pushed().folder / name)
    return made


@pytest.fixture(scope="module")
def hub(folders):
    """A Hub to which the whole way led: rows prepared and pushed, a model trained and pushed, a second version."""
    server = pushed().hub
    for arguments in (
        ("dataset", "--path", folders / "geograph-types", "--repo_id", DATA, "--tag", "v1.0"),
        ("model", "--path", folders / "geograph-type-classifier", "--repo_id", MODEL, "--tag", "v1.0"),
        ("model", "--path", folders / "second", "--repo_id", MODEL),
    ):
        answer = pushed().publish(*arguments)
        assert answer.status == 0, answer.err
    return server


@pytest.fixture
def reader(hub, tmp_path):
    """The environment of someone without a token and with an empty cache."""
    return hub_environment(hub.url, tmp_path, user="")


def test_each_version_is_one_commit(hub):
    """`--push_to_hub` and publish.py go the same way: the second finds nothing to send, and sets the tag."""
    repo = hub.repos["models", MODEL]
    assert len(repo.messages) == 3  # the Hub's own, and two versions
    assert repo.messages[1].startswith("Geograph type classifier, made with geograph-type-classifier 2.0.0")
    first, second = (repo.commits[repo.resolve(revision)] for revision in ("v1.0", "main"))
    assert {"learning_curve.png", "train_results.json", "model.safetensors"} <= first.keys()
    assert not [name for name in first if "checkpoint" in name or name.endswith(".bin")]
    assert first.keys() - second.keys() >= {"learning_curve.png", "train_results.json"}, "an older layout is removed"
    assert len(hub.repos["datasets", DATA].messages) == 2
    assert "rejected.jsonl" not in hub.repos["datasets", DATA].files


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
        for version in ("second", "geograph-type-classifier")
    ]
    assert sums == pytest.approx(expected), "`revision` pins the weights"
    config = json.loads((folders / "second" / "config.json").read_text())
    assert [answer["scores"][name] for name in config["classes"]] == pytest.approx(probabilities, abs=1e-5)
    assert answer["types"] and answer["error"] is None
    assert refused == [True, True], "code from the Hub runs only for those who say so"


USE_DATASET = """
import json
from datasets import load_dataset
whole = load_dataset({name!r}, "small")
default = load_dataset({name!r}, split="test", revision="v1.0")
streamed = list(load_dataset({name!r}, "large", split="validation", streaming=True))
print(json.dumps([
    whole.num_rows, whole["train"].features["types"].feature.names, whole["train"][0], default.num_rows,
    len(streamed), streamed[-1],
]))
"""


def test_the_dataset_by_name(hub, folders, reader, tmp_path):
    import pyarrow.parquet as pq

    def table(config, split):
        return pq.read_table(*(folders / "geograph-types" / config).glob(f"{split}-*.parquet"))

    out = run_fresh(USE_DATASET.format(name=DATA), reader, tmp_path)
    rows, tags, first, default_rows, streamed_rows, last = json.loads(out.splitlines()[-1])
    assert rows == {split: table("small", split).num_rows for split in ("train", "validation", "test")}
    assert default_rows == rows["test"], "small is the default"
    assert tags == TAGS and first == table("small", "train").slice(0, 1).to_pylist()[0]
    streamed = table("large", "validation").to_pylist()
    assert streamed_rows == len(streamed) and last == streamed[-1]


def test_a_private_dataset_is_for_its_owner(hub, folders, tmp_path):
    answer = pushed().publish("dataset", "--path", folders / "geograph-types", "--repo_id", "user/hidden", "--private")
    assert answer.status == 0, answer.err
    code = (
        "from datasets import load_dataset\n"
        "try:\n    print(len(load_dataset('user/hidden', 'small')))\n"
        "except FileNotFoundError:\n    print('refused')"
    )
    for user, says in (("", "refused"), ("test", "3")):
        home = tmp_path / says
        home.mkdir()
        assert run_fresh(code, hub_environment(hub.url, home, user=user), home).split()[-1] == says


def test_a_synthetic_model_is_published_on_purpose_only(hub, folders):
    arguments = ("model", "--path", folders / "synthetic", "--repo_id", "user/synthetic")
    answer = pushed().publish(*arguments)
    assert answer.status == 1 and "synthetic rows" in answer.err and "--allow_synthetic" in answer.err
    assert ("models", "user/synthetic") not in hub.repos
    answer = pushed().publish(*arguments, "--allow_synthetic")
    assert answer.status == 0, answer.err
    assert json.loads(hub.repos["models", "user/synthetic"].files["config.json"].content)["synthetic"] is True


def test_the_space_starts_from_its_files_alone(hub, folders, reader, tmp_path):
    """Fetched from the Hub into an empty folder, it serves the page and answers through its API."""
    answer = pushed().publish("space", "--path", folders / "second", "--repo_id", "user/demo")
    assert answer.status == 0, answer.err
    repo = hub.repos["spaces", "user/demo"]
    card = yaml.safe_load(repo.files["README.md"].content.decode().split("---\n")[1])
    assert card["sdk"] == "gradio" and card["sdk_version"] == importlib.metadata.version("gradio")
    needed = repo.files["requirements.txt"].content.decode().split()
    assert "torch==" in needed[0] and all("==" in pin and not pin.startswith("gradio=") for pin in needed)
    assert repo.files["model/model.safetensors"].lfs
    run_fresh(
        "from huggingface_hub import snapshot_download\n"
        "snapshot_download('user/demo', repo_type='space', local_dir='space')",
        reader,
        tmp_path,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in reader.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=tmp_path / "space",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        client = wait_for_client(f"http://127.0.0.1:{port}", process)
        row = {"embeddings": base64.b64encode(np.ones(512, "<f4").tobytes()).decode(), "distance": "16"}
        answer = client.predict(json.dumps(row), api_name="/classify_embedding")
        assert answer["types"] and answer["error"] is None and len(answer["scores"]) == 7
    finally:
        process.terminate()
        process.communicate(timeout=30)


def wait_for_client(url: str, process: subprocess.Popen):
    """A `gradio_client` for a page that is still starting."""
    import httpx
    from gradio_client import Client

    for _ in range(240):
        if process.poll() is not None:
            pytest.fail(f"app.py ended:\n{process.stdout.read()}")
        with contextlib.suppress(httpx.HTTPError, OSError):
            httpx.get(url, timeout=5).raise_for_status()
            return Client(url, verbose=False)
        time.sleep(0.25)
    return pytest.fail("app.py did not start within a minute")
