"""What export_model.py writes answers as the model does: in onnxruntime, and in PHP from the JSON alone."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pybase64
import pytest
import torch
from torch import nn

from configuration_geograph import GeographConfig
from geograph_types.files import ROOT
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.inference import logits_of, probabilities_of
from modeling_geograph import GeographModel
from names_geograph import CLASSES, NUM_DISTANCE_BUCKETS
from tests.support.tiny_tower import make_tiny_tower


def a_model(dtype=torch.float32, **changes) -> GeographModel:
    torch.manual_seed(5)
    model = GeographModel(GeographConfig(thresholds=[0.3, 0.5, 0.7, 0.4, 0.6, 0.5, 0.2], **changes)).eval()
    return model.to(dtype)


def export(monkeypatch, folder, output, *more) -> None:
    import export_model

    flags = ["export_model.py", "--model", folder, "--output_dir", output, *more]
    monkeypatch.setattr(sys, "argv", [str(flag) for flag in flags])
    export_model.main()


def some_rows(dim=512) -> tuple[np.ndarray, np.ndarray]:
    """Two rows a bucket."""
    bucket = np.arange(2 * NUM_DISTANCE_BUCKETS) % NUM_DISTANCE_BUCKETS
    vectors = np.random.default_rng(0).standard_normal((len(bucket), dim)).astype(np.float32) * 0.45
    return vectors, bucket


def php_of(weights, rows: list[dict]) -> list[dict]:
    if shutil.which("php") is None:
        pytest.skip("no php here (Debian: apt-get install php-cli)")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    command = ["php", "-d", "memory_limit=512M", str(ROOT / "tests/support/read_weights.php"), str(weights)]
    result = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("dtype", "changes"),
    [
        (torch.float32, {}),
        (torch.bfloat16, {}),
        (torch.float32, {"num_distance_buckets": 30, "embedding_dim": 64}),
        (torch.float32, {"num_distance_buckets": 12, "hidden_dim": 40}),
    ],
)
def test_onnx_and_json_answer_as_the_model(monkeypatch, tmp_path, dtype, changes):
    model = a_model(dtype, **changes)
    save_model_repository(model, tmp_path / "model")
    export(monkeypatch, tmp_path / "model", tmp_path / "out")
    vectors, bucket = some_rows(model.config.embedding_dim)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    feed = {"embedding": vectors, "distance": bucket}
    logits, probabilities = session.run(["logits", "probabilities"], feed)
    model = model.float()
    np.testing.assert_allclose(logits, logits_of(model, vectors, bucket), atol=1e-5)
    np.testing.assert_allclose(probabilities, probabilities_of(model, vectors, bucket), atol=1e-5)
    one = session.run(["probabilities"], {"embedding": vectors[:1], "distance": bucket[:1]})[0]
    assert one.shape == (1, 7)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == CLASSES
    assert json.loads(about["thresholds"]) == model.config.thresholds
    assert {i.name: i.type for i in session.get_inputs()} == {
        "embedding": "tensor(float)",
        "distance": "tensor(int64)",
    }

    stored = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert set(stored) == {"metadata", "state_dict"}
    assert set(stored["metadata"]) == {"clip_dim", "dist_embed_dim", "classes", "dist_map"}
    assert stored["metadata"]["dist_map"] == {
        "": 0, "0": 0, **{str(2**i): i + 1 for i in range(21)}, "Unknown": 22
    }  # fmt: skip
    by_python = site_model(stored)
    with torch.no_grad():
        found = by_python(torch.from_numpy(vectors), torch.from_numpy(bucket)).sigmoid().numpy()
    np.testing.assert_allclose(found, probabilities, atol=1e-5)
    if changes.get("num_distance_buckets") != 12:
        texts = ["0", *(str(2**i) for i in range(21)), "Unknown"]
        rows = [
            {"distance": texts[b], "embeddings": pybase64.b64encode_as_string(v.tobytes())}
            for v, b in zip(vectors, bucket, strict=True)
        ]
        answers = [[answer[name] for name in CLASSES] for answer in php_of(tmp_path / "out" / "weights.json", rows)]
        np.testing.assert_allclose(answers, probabilities, atol=1e-5)


def site_model(stored: dict) -> nn.Module:
    """The site's Python port, written out: a row of the table for each text of `dist_map`."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            about, hidden = stored["metadata"], len(stored["state_dict"]["fc.0.bias"])
            width = about["clip_dim"] + about["dist_embed_dim"]
            self.dist_emb = nn.Embedding(len(about["dist_map"]), about["dist_embed_dim"])
            self.fc = nn.Sequential(
                nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, len(about["classes"]))
            )

        def forward(self, vector, index):
            return self.fc(torch.cat([vector, self.dist_emb(index)], 1))

    model = Model()
    model.load_state_dict({name: torch.tensor(value) for name, value in stored["state_dict"].items()})
    return model.eval()


def test_official_weights_give_the_official_number_in_php(monkeypatch, tmp_path, shared):
    checkpoint = shared / "upstream" / "best_geograph_model_v2.3.pth"
    if not checkpoint.is_file():
        pytest.skip("no official weights beside the repository")
    model, _ = GeographModel.load_checkpoint(checkpoint)
    save_model_repository(model, tmp_path / "official")
    export(monkeypatch, tmp_path / "official", tmp_path / "out")
    row = json.loads((shared / "data" / "geograph_7706259.json").read_text())
    vector = np.frombuffer(pybase64.b64decode(row["embeddings"]), "<f4")[None]
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    for bucket, name, expected in ((5, "Geograph", 0.9545), (22, "Geograph", 0.9484), (12, "Cross Far", 0.9825)):
        (found,) = session.run(["probabilities"], {"embedding": vector, "distance": np.array([bucket])})
        assert found[0, CLASSES.index(name)] == pytest.approx(expected, abs=5e-5)
    (answer,) = php_of(tmp_path / "out" / "weights.json", [row])
    assert answer["Geograph"] == pytest.approx(0.9545, abs=5e-5)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_pixels_to_types(monkeypatch, tmp_path, activation):
    from encoder_geograph import GeographEncoder

    tower = make_tiny_tower(tmp_path / "tower")
    config = json.loads((tower / "config.json").read_text())
    (tower / "config.json").write_text(json.dumps(config | {"hidden_act": activation}))
    model = a_model()
    save_model_repository(model, tmp_path / "model")
    flags = ["--formats", "onnx", "--with_tower", "--vision_model", tower]
    export(monkeypatch, tmp_path / "model", tmp_path / "out", *flags)
    assert not (tmp_path / "out" / "weights.json").exists()
    encoder = GeographEncoder.from_pretrained(tower, device="cpu", dtype="float32")
    photos = np.random.default_rng(0).integers(0, 255, (5, 240, 300, 3), dtype=np.uint8)
    pixels = np.stack([encoder.pixels(photo) for photo in photos])
    vectors = np.stack([encoder.encode_one(photo) for photo in photos])
    bucket = np.array([0, 3, 9, 22, 12])
    session = onnxruntime.InferenceSession(tmp_path / "out" / "photo_model.onnx")
    embedding, found = session.run(["embedding", "probabilities"], {"pixels": pixels, "distance": bucket})
    np.testing.assert_allclose(embedding, vectors, atol=2e-3)
    np.testing.assert_allclose(found, probabilities_of(model, vectors, bucket), atol=1e-4)
    onnx.checker.check_model(tmp_path / "out" / "photo_model.onnx")


def test_wrong_usage(monkeypatch, tmp_path):
    for flags in (["--formats", "tflite"], ["--formats", ","], ["--formats", "json", "--with_tower"]):
        with pytest.raises(SystemExit) as end:
            export(monkeypatch, tmp_path, tmp_path / "out", *flags)
        assert end.value.code == 2
