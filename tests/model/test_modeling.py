"""The model as users reach it: fresh processes, saved folders, other precisions and devices, and what it refuses."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from configuration_geograph import GeographConfig
from geograph_types.hub.model_folder import TRAVELLING_FILES, save_model_repository
from layers_geograph import QuickDropout
from modeling_geograph import GeographModel, weighted_bce

BATCH = 5


@pytest.fixture
def model() -> GeographModel:
    torch.manual_seed(0)
    return GeographModel(GeographConfig()).eval()


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "embedding": torch.randn(BATCH, 512, generator=generator) * 0.45,
        "distance": torch.tensor([0, 5, 12, 21, 22]),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Saved, loaded as users do, saved again: what a fine-tuned model's folder is."""
    torch.manual_seed(0)
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    save_model_repository(GeographModel(GeographConfig()), first)
    save_model_repository(AutoModel.from_pretrained(first, trust_remote_code=True), second)
    return second


def test_the_loss_is_the_written_out_formula():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(4, 7, generator=generator)
    labels = (torch.rand(4, 7, generator=generator) > 0.5).float()
    weight = torch.tensor([1.0, 0.2, 0.0, 0.5])
    p = logits.sigmoid()
    bce = -(labels * p.log() + (1 - labels) * (1 - p).log())
    expected = (weight * bce.mean(1)).sum() / 4  # over the rows, not over the weights
    assert torch.allclose(weighted_bce(logits, labels, weight), expected)
    assert torch.allclose(weighted_bce(logits, labels), bce.mean())
    assert weighted_bce(logits.bfloat16(), labels, weight).dtype == torch.float32


def test_several_distances_at_once_and_training_give_the_same_numbers():
    """The first layer in two products, and a head that was changed so that it cannot be; gradients, too."""
    torch.manual_seed(0)
    model, changed = (
        GeographModel(GeographConfig(dropout=0.0)).eval(),
        GeographModel(GeographConfig(dropout=0.0)).eval(),
    )
    changed.load_state_dict(model.state_dict())
    changed.fc[0] = torch.nn.Sequential(changed.fc[0])
    embedding, distance = torch.randn(BATCH, 512), torch.randint(0, 23, (BATCH, 2))
    labels, weight = torch.randint(0, 2, (BATCH, 2, 7)).float(), torch.rand(BATCH)
    one_by_one = torch.stack([model(embedding, distance[:, k]).logits for k in (0, 1)], dim=1)
    for own in (model, model.train(), changed, changed.train()):
        output = own(embedding, distance, labels, weight)
        assert torch.allclose(output.logits, one_by_one, atol=1e-5)
        output.loss.backward()
    bce = torch.nn.functional.binary_cross_entropy_with_logits(one_by_one, labels, reduction="none")
    assert torch.allclose(output.loss, (bce.mean((1, 2)) * weight).mean())
    for (name, a), b in zip(model.named_parameters(), changed.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name
    assert torch.allclose(model(embedding, distance[:, 0]).logits, one_by_one[:, 0], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_share_and_the_mean(dtype):
    dropout = QuickDropout(0.2)
    torch.manual_seed(0)
    values = dropout(torch.ones(999, 101, dtype=dtype))
    assert values.dtype == dtype
    assert (values == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
    assert values.max().item() == pytest.approx(1.25, rel=5e-3)
    torch.manual_seed(0)
    assert torch.equal(dropout(torch.ones(999, 101, dtype=dtype)), values)
    assert torch.equal(dropout.eval()(values), values)


def test_forward_gives_the_loss_only_with_labels(model, inputs):
    labels = torch.zeros(BATCH, 7)
    weight = torch.ones(BATCH)
    assert model(**inputs).loss is None
    output = model(**inputs, labels=labels, weight=weight)
    assert output.logits.shape == (BATCH, 7)
    assert torch.equal(output.loss, weighted_bce(output.logits, labels, weight))
    for dtype in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(model(inputs["embedding"], inputs["distance"].to(dtype)).logits, output.logits)
    assert model(torch.zeros(0, 512), torch.zeros(0, dtype=torch.long)).logits.shape == (0, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": torch.zeros(512)}, r"embedding must be float \[B, 512\], got float32 \[512\]"),
        ({"embedding": np.zeros((BATCH, 512))}, "embedding must be a torch.Tensor, got ndarray"),
        ({"distance": None}, "distance must be a torch.Tensor, got NoneType"),
        ({"embedding": torch.zeros(BATCH, 768)}, r"got float32 \[5, 768\]"),
        ({"embedding": torch.zeros(BATCH, 512, dtype=torch.int64)}, r"got int64 \[5, 512\]"),
        ({"distance": torch.zeros(4, dtype=torch.long)}, r"distance must be int \[5\]"),
        ({"distance": torch.zeros(BATCH)}, r"got float32 \[5\]"),
        ({"distance": torch.zeros(BATCH, dtype=torch.bool)}, r"got bool \[5\]"),
        ({"distance": torch.tensor([0, 1, 2, 3, 23])}, "0 to 22, got 23"),
        ({"distance": torch.tensor([0, 1, 2, 3, -1])}, "0 to 22, got -1"),
        ({"labels": torch.zeros(BATCH, 6)}, r"labels must be float \[5, 7\]"),
        ({"labels": torch.zeros(BATCH, 7), "weight": torch.ones(BATCH, 1)}, r"weight must be float \[5\]"),
    ],
)
def test_refuses_what_it_cannot_mean(model, inputs, change, message):
    with pytest.raises(ValueError, match=message):
        model(**(inputs | change))


def test_a_fresh_process_loads_the_resaved_folder(folder, inputs, tmp_path):
    """With nothing cached and no network, as on a user's machine; and not without `trust_remote_code`."""
    torch.save(inputs, tmp_path / "inputs.pt")
    code = """
import sys, torch
from transformers import AutoConfig, AutoModel
folder, scratch = sys.argv[1:]
for auto in (AutoConfig, AutoModel):
    try:
        auto.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        assert "trust_remote_code" in str(error), error
    else:
        sys.exit("loaded code without trust_remote_code")
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
assert not model.training
torch.save(model(**torch.load(scratch + "/inputs.pt")).logits.detach(), scratch + "/logits.pt")
"""
    environment = os.environ | {
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-c", code, str(folder), str(tmp_path)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    own = GeographModel.from_pretrained(folder)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), own(**inputs).logits)


def test_from_config_on_the_clone_has_trainable_weights(root):
    config = AutoConfig.from_pretrained(root, trust_remote_code=True)
    model = AutoModel.from_config(config, trust_remote_code=True)
    for name, value in model.named_parameters():
        assert value.isfinite().all(), name
        assert value.std() > 0.01, name
    assert sum(value.numel() for value in model.parameters()) == 23 * 16 + 529 * 256 + 257 * 7


def test_bfloat16_stays_close(folder, inputs):
    single = AutoModel.from_pretrained(folder, trust_remote_code=True)
    half = AutoModel.from_pretrained(folder, trust_remote_code=True, dtype=torch.bfloat16)
    logits = half(**inputs).logits
    assert logits.dtype == torch.bfloat16
    assert torch.allclose(logits.float(), single(**inputs).logits, atol=0.05)


def test_device_map_and_meta(folder, inputs):
    placed = AutoModel.from_pretrained(folder, trust_remote_code=True, device_map="cpu")
    plain = AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert torch.equal(placed(**inputs).logits, plain(**inputs).logits)
    with torch.device("meta"):
        empty = GeographModel(GeographConfig())
        logits = empty(torch.zeros(BATCH, 512), torch.zeros(BATCH, dtype=torch.long)).logits
    assert logits.is_meta
    assert logits.shape == (BATCH, 7)


def test_one_graph_for_the_compiler(model, inputs):
    """`aot_eager` captures the graph as `inductor` does, without the minutes of a C++ compiler."""
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    labels = torch.zeros(BATCH, 7)
    with torch.no_grad():
        expected, found = model(**inputs, labels=labels), compiled(**inputs, labels=labels)
    assert torch.allclose(found.logits, expected.logits, atol=1e-6)
    assert torch.allclose(found.loss, expected.loss)


@pytest.mark.slow
def test_compiles_with_inductor(model, inputs):
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True)(**inputs)
        assert torch.allclose(found.logits, model(**inputs).logits, atol=1e-5)


def test_weights_that_are_missing_are_not_made_up(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["fc.3.weight"]
    for name in ("config.json", *TRAVELLING_FILES):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"fc\.3\.weight"):
        AutoModel.from_pretrained(tmp_path, trust_remote_code=True)


def test_damaged_weights_are_one_clear_error(folder, tmp_path):
    for name in ("config.json", *TRAVELLING_FILES):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match="weights are damaged"):
        AutoModel.from_pretrained(tmp_path, trust_remote_code=True)
