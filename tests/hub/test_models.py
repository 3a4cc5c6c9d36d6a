"""Models by folder or Hub id: whose code runs, and the one line that says what is wrong with them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from configuration_geograph import GeographConfig
from geograph_types.cli import CommandError
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.hub.models import load_config, load_head, load_model, load_pipeline
from geograph_types.prediction.answering import identity_of_model
from geograph_types.rows.synthetic import lines_of
from layers_geograph import GeographHead
from modeling_geograph import GeographModel
from tests.conftest import ROOT
from tests.support.hub_server import HubServer


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "a model"
    save_model_repository(GeographModel(GeographConfig(hidden_dim=8)), folder)
    return folder


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_code(folder: Path, old: str, new: str, name: str = "modeling_geograph.py") -> None:
    code = (folder / name).read_text()
    assert old in code
    (folder / name).write_text(code.replace(old, new))


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.ones(1, 512), torch.tensor([5])).logits[0]


def test_a_folder_loads_in_silence(original, capsys):
    model = load_model(original, device="cpu")
    assert not model.training
    assert model.config.name_or_path == str(original)
    assert torch.equal(model.fc[0].weight, load_file(original / "model.safetensors")["fc.0.weight"])
    assert load_config(original, dropout=0.5).dropout == 0.5
    assert load_model(original, device="cpu", dropout=0.3).fc[2].p == 0.3
    assert capsys.readouterr() == ("", "")


def test_the_head_alone_answers_as_the_model_does(original, folder, tmp_path, capsys):
    model, head = load_model(original, device="cpu"), load_head(original, device="cpu")
    assert isinstance(head, GeographHead) and not head.training
    assert torch.allclose(
        logits(head), logits(model), atol=1e-6
    )  # the last bits go by where the weights lie in memory
    assert identity_of_model(head) == identity_of_model(model)
    half = GeographModel.from_pretrained(original, dtype=torch.bfloat16)
    save_model_repository(half, tmp_path / "half")
    assert torch.allclose(logits(load_head(tmp_path / "half")), logits(load_model(tmp_path / "half")), atol=1e-6)
    two_files = tmp_path / "two"
    model.save_pretrained(two_files, max_shard_size="17KB")
    assert len(list(two_files.glob("*.safetensors"))) > 1
    assert torch.allclose(logits(load_head(two_files)), logits(model), atol=1e-6)
    # Whatever else its code is, it is asked, not ours.
    change_code(folder, "ReLU()", "Sigmoid()", "layers_geograph.py")
    assert not isinstance(load_head(folder), GeographHead)
    capsys.readouterr()


def test_a_ready_row_is_answered_without_transformers_models(original, tmp_path):
    (tmp_path / "row.jsonl").write_bytes(next(iter(lines_of("synthetic:1"))) + b"\n")
    code = (
        # What a config needs counts not: for it transformers 5.4 loads sympy.
        "import sys, transformers.configuration_utils; own = {*sys.modules}; import predict; predict.main()\n"
        "slow = {'transformers.modeling_utils', 'torch._dynamo', 'datasets', 'accelerate', 'sympy'}\n"
        "assert not (late := slow & sys.modules.keys() - own), late"
    )
    flags = ["--model", original, "--input", tmp_path / "row.jsonl", "--output", tmp_path / "a.jsonl"]
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "a.jsonl").read_text())["scores"]


def test_two_folders_of_one_name_keep_their_own_code(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "new" / folder.name)
    change_code(other, "logits = self.logits_of(", "logits = 100 + self.logits_of(")
    deep = shutil.copytree(folder, tmp_path / "deep" / folder.name)
    change_code(deep, 'return "Cross Grid" if name', 'return "ANOTHER" if name', "names_geograph.py")
    before = logits(load_model(folder, device="cpu"))
    for load in (load_model, load_head):
        assert torch.allclose(logits(load(other, device="cpu")), before + 100)
    assert torch.equal(logits(load_model(folder, device="cpu")), before)
    vector = {"embedding": torch.ones(512).numpy()}
    raised = load_pipeline(other, device="cpu")(vector)
    assert min(raised["scores"].values()) > 0.99
    assert max(load_pipeline(folder, device="cpu")(vector)["scores"].values()) < 0.99
    here = [sys.modules[type(load_model(f, device="cpu")).__module__] for f in (folder, deep)]
    names = [sys.modules[f"{module.__package__}.names_geograph"] for module in here]
    assert [module.tag_of("Cross Far") for module in names] == ["Cross Grid", "ANOTHER"]


def test_a_saved_copy_is_whole_again(folder, tmp_path):
    model = load_model(folder, device="cpu")
    save_model_repository(model, tmp_path / "copy")
    assert torch.equal(logits(load_model(tmp_path / "copy", device="cpu")), logits(model))


def bad_weights(folder: Path, **changes) -> None:
    path = folder / "model.safetensors"
    weights = {name: value for name, value in (load_file(path) | changes).items() if value is not None}
    save_file(weights, path, metadata={"format": "pt"})


SPOILED = {
    "its weights lack fc.3.bias": lambda f: bad_weights(f, **{"fc.3.bias": None}),
    "hold more, which the model does not have": lambda f: bad_weights(f, more=torch.zeros(1)),
    "config.json: hidden_dim must be a whole number": lambda f: change_config(f, hidden_dim=10**7),
    "fc.0.weight is [8, 528], the config asks for [60000, 528]": lambda f: change_config(f, hidden_dim=60_000),
    "fc.0.weight is [8, 528], the config asks for [8, 784]": lambda f: change_config(f, embedding_dim=768),
    "dist_emb.weight holds NaN": lambda f: bad_weights(f, **{"dist_emb.weight": torch.full((23, 16), torch.nan)}),
    "damaged or cut short": lambda f: os.truncate(f / "model.safetensors", 5000),
    "damaged or cut short (Error": lambda f: (f / "model.safetensors").write_bytes(b""),
    "is a pickle, which can run code, under": lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"a": 1})),
    "are a pickle (pytorch_model.bin)": lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
    "it has no model.safetensors": lambda f: (f / "model.safetensors").unlink(),
    "a pointer of git-lfs": lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec"),
    "it has no config.json": lambda f: (f / "config.json").unlink(),
    "config.json is not JSON": lambda f: (f / "config.json").write_text('{"a":'),
    "model_type is 'clip', expected 'geograph'": lambda f: change_config(f, model_type="clip"),
    "auto_map does not name": lambda f: change_config(f, auto_map=None),
    "config.json: hidden_dim must be": lambda f: change_config(f, hidden_dim=0),
    "its code does not run here": lambda f: change_code(f, "import torch", "import torch\nraise KeyError('odd')"),
}  # fmt: skip


@pytest.mark.parametrize("reason", SPOILED)
def test_what_is_wrong_with_it_is_one_line(folder, reason):
    SPOILED[reason](folder)
    for load in (load_model, load_head):
        with pytest.raises(CommandError) as caught:
            load(folder, device="cpu")
        assert reason in str(caught.value)
        assert str(caught.value).startswith(str(folder))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:99", "no such", "meta"])
def test_a_device_that_is_not_there(original, device):
    with pytest.raises(CommandError, match=f"^--device {device}: "):
        load_model(original, device=device)


def test_names_of_nothing(tmp_path):
    for name, reason in (
        ("nosuchfolder", "no model there: no such folder, and no Hub id"),
        (str(tmp_path / "x"), "no model there: no such folder"),
        ("nobody/none-such", "no such folder is here either"),
        (__file__, "is a file; name the folder"),
    ):
        began = time.monotonic()
        with pytest.raises(CommandError, match=reason):
            load_model(name)
        assert time.monotonic() - began < 1
    with pytest.raises(CommandError, match="is a folder, which has no revisions"):
        load_model(tmp_path, revision="v1")


def test_code_from_elsewhere_is_named_before_it_runs(folder, capsys):
    change_config(folder, auto_map={"AutoConfig": "nobody/evil--configuration_geograph.GeographConfig",
                                    "AutoModel": "modeling_geograph.GeographModel"})  # fmt: skip
    with pytest.raises(CommandError, match="its code does not run here"):  # there is no Hub to fetch it from
        load_model(folder, device="cpu")
    said = capsys.readouterr().err.strip()
    assert "runs Python code from the Hub, by nobody/evil, to which its config.json points" in said
    assert "\n" not in said


def test_code_is_never_named_by_a_path(folder, tmp_path):
    (tmp_path / "odd.py").write_text("raise SystemExit('it ran')")
    for code in (
        f"{tmp_path}--odd.GeographConfig",
        "../odd--odd.GeographConfig",
        "../odd.GeographConfig",
        "a.b.C",
        "C",
    ):
        change_config(folder, auto_map={"AutoConfig": code, "AutoModel": "modeling_geograph.GeographModel"})
        with pytest.raises(CommandError, match="auto_map does not name the model's code"):
            load_model(folder, device="cpu")
    own = json.loads((folder / "config.json").read_text())["custom_pipelines"]["geograph-types"]
    change_config(
        folder,
        auto_map={
            "AutoConfig": "configuration_geograph.GeographConfig",
            "AutoModel": "modeling_geograph.GeographModel",
        },
        custom_pipelines={"geograph-types": own | {"impl": f"{tmp_path}--odd.Pipeline"}},
    )
    with pytest.raises(CommandError, match="it names no pipeline for the task"):
        load_pipeline(folder, device="cpu")


def test_from_the_hub_with_a_revision(folder, monkeypatch, capsys):
    from huggingface_hub import constants

    with HubServer() as hub:
        hub.put("models", "somebody/types", folder)
        repo = hub.repos["models", "somebody/types"]
        first = repo.refs["refs/tags/v1"] = repo.refs["refs/heads/main"]
        save_model_repository(GeographModel(GeographConfig(hidden_dim=4)), folder)
        hub.put("models", "somebody/types", folder, commit="f" * 40)
        hub.repos["models", "somebody/types"].commits |= repo.commits
        hub.repos["models", "somebody/types"].refs["refs/tags/v1"] = first
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        models = [load_model("somebody/types", revision, device="cpu") for revision in (None, "v1")]
        pinned = load_model("somebody/types@v1", device="cpu")
        assert pinned.config.hidden_dim == 8
        assert [model.config.hidden_dim for model in models] == [4, 8]
        assert {model.config.name_or_path for model in models} == {"somebody/types"}
        said = capsys.readouterr().err.splitlines()
        assert [line.partition(" at commit ")[2][:12] for line in said] == ["f" * 12, first[:12], first[:12]]
        with pytest.raises(CommandError, match="no revision 'none' on the Hub"):
            load_model("somebody/types", "none")
        with pytest.raises(CommandError, match="no such folder here, and no such model on the Hub"):
            load_model("somebody/nothing")
