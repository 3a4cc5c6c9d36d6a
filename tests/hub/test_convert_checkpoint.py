"""Official checkpoints: the same logits as the official architecture, through AutoModel."""

import base64
import json

import numpy as np
import pytest
import torch
from torch import nn

from geograph_types.cli import CommandError
from geograph_types.files import ordinary_mode
from names_geograph import CLASSES
from tests.support import warm


@pytest.fixture(scope="module")
def official(shared, tmp_path_factory):
    path = shared / "upstream" / "best_geograph_model_v2.3.pth"
    if not path.is_file():
        pytest.skip("no official weights beside the repository")
    folder = tmp_path_factory.mktemp("official") / "v2.3"
    return path, folder


def convert(*arguments):
    return warm.run("convert_checkpoint.py", *arguments)


def test_official_weights_give_the_official_numbers(official, shared):
    from transformers import AutoModel

    path, folder = official
    assert convert(path, "--output_dir", folder).returncode == 0
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    row = json.loads((shared / "data" / "geograph_7706259.json").read_text())
    embedding = torch.from_numpy(np.frombuffer(base64.b64decode(row["embeddings"]), "<f4").copy())[None]

    # The official architecture, written out.
    state = torch.load(path, weights_only=True)["model_state_dict"]
    table = nn.Embedding(24, 16)
    layers = nn.Sequential(nn.Linear(528, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 7))
    table.load_state_dict({"weight": state["dist_emb.weight"]})
    layers.load_state_dict({k.removeprefix("fc."): v for k, v in state.items() if k.startswith("fc.")})
    layers.eval()
    with torch.no_grad():
        for bucket in range(23):
            distance = torch.tensor([bucket])
            expected = layers(torch.cat([embedding, table(distance)], 1))
            assert torch.allclose(model(embedding, distance).logits, expected, atol=1e-5)

    def probability(bucket, name):
        return model(embedding, torch.tensor([bucket])).logits.sigmoid()[0, CLASSES.index(name)].item()

    assert probability(5, "Geograph") == pytest.approx(0.9545, abs=5e-5)
    assert probability(5, "Close Look") == pytest.approx(0.0335, abs=5e-5)
    assert probability(22, "Geograph") == pytest.approx(0.9484, abs=5e-5)
    assert probability(12, "Cross Far") == pytest.approx(0.9825, abs=5e-5)
    assert model.config.cross_far_min_distance == 256
    card = (folder / "README.md").read_text()
    assert "official v2.3" in card
    assert "{{" not in card
    assert "What the official repository published" in card and "**.85** on Cross Far" in card
    again = convert(path, "--output_dir", folder)  # the very same is no other model
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a checkpoint", "not a PyTorch checkpoint"), (None, "no such file")],
)
def test_bad_files_are_one_line(tmp_path, content, message):
    path = tmp_path / "model.pth"
    if content is not None:
        path.write_bytes(content)
    result = convert(path, "--output_dir", tmp_path / "out")
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_refuses_code_in_a_checkpoint(tmp_path):
    import pickle

    from modeling_geograph import GeographModel

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"model_state_dict": Evil()}, tmp_path / "evil.pth", pickle_module=pickle)
    with pytest.raises(ValueError, match="read safely"):
        GeographModel.load_checkpoint(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"weights": {}}, "model_state_dict"),
        ({"model_state_dict": {"dist_emb.weight": torch.zeros(24, 8)}}, "dist_emb.weight has shape"),
        ({"model_state_dict": {}, "classes": ["Aerial"]}, "classes"),
    ],
)
def test_another_checkpoint_is_refused(tmp_path, checkpoint, message):
    from modeling_geograph import GeographModel

    torch.save(checkpoint, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        GeographModel.load_checkpoint(tmp_path / "other.pth")


def save_checkpoint(path, **changes):
    from configuration_geograph import GeographConfig
    from modeling_geograph import GeographModel

    state = GeographModel(GeographConfig()).state_dict()
    torch.save({"model_state_dict": state | changes, "classes": CLASSES}, path)
    return path


def test_a_trained_model_is_not_overwritten_unless_told(tmp_path):
    from geograph_types.hub.converting import convert

    checkpoint, output = save_checkpoint(tmp_path / "own.pth"), tmp_path / "model"
    output.mkdir()
    for name in ("train_results.json", "metrics.json", "learning_curve.png", "notes.txt"):
        (output / name).write_text("{}")
    (output / "checkpoint-3").mkdir()
    before = sorted(path.name for path in output.iterdir())
    with pytest.raises(CommandError, match=r"a model is there already.*--overwrite_output_dir"):
        convert(checkpoint, output, None)
    assert sorted(path.name for path in output.iterdir()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "own.pth"]
    convert(checkpoint, output, None, overwrite=True)
    left = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "README.md", "config.json", "notes.txt"} <= left
    assert not left & {"train_results.json", "metrics.json", "learning_curve.png", "checkpoint-3"}
    assert (output / "model.safetensors").stat().st_mode & 0o777 == ordinary_mode()
    card = (output / "README.md").read_text()
    assert "`own.pth`, a checkpoint in the official format" in card and "How good it is" not in card
    convert(save_checkpoint(tmp_path / "own.pth"), tmp_path / "other", None)


def test_nan_weights_are_refused(tmp_path):
    from geograph_types.hub.converting import convert

    checkpoint = save_checkpoint(tmp_path / "own.pth", **{"fc.3.bias": torch.full((7,), torch.nan)})
    with pytest.raises(ValueError, match=r"fc\.3\.bias holds NaN"):
        convert(checkpoint, tmp_path / "model", None)
    assert not (tmp_path / "model").exists()


def test_usage():
    assert convert().returncode == 2
    assert convert("--download", "v9").returncode == 2


def test_the_file_may_stand_after_the_flags_and_no_unsafe_advice_is_given(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(object, path)
    result = convert("--output_dir", tmp_path / "model", path)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert "not a PyTorch checkpoint" in line
    assert "weights_only" not in line and "\x1b" not in line
    assert not (tmp_path / "model").exists()
