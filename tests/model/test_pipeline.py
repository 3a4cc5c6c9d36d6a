"""The Cross Grid decision case by case, and the pipeline in all the ways that people call it."""

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection, pipeline

from configuration_geograph import GeographConfig
from decision_geograph import NOT_SAID, OTHER_SQUARE, SAME_SQUARE, choose, decide
from geograph_types.hub.model_folder import save_model_repository
from modeling_geograph import GeographModel
from names_geograph import CLASSES
from pipeline_geograph import GeographPipeline
from tests.support.photo_factory import encoded, landscape
from tests.support.tiny_tower import make_tiny_tower

HALF = [0.5] * 7
SUBJECT, SAME, OTHER, COARSE, IRISH = "TQ 3003 8048", "TQ 3011 8062", "TQ 3103 8048", "TQ 38", "O 159 346"
NOTE = "looks like a long view, but both points are in TQ3080"

# name: (Cross Far, other classes' probabilities, subject, viewpoint) → types, cross_grid, note, score of Cross Far
CASES = {
    "other square, the picture says so": (0.9, {}, SUBJECT, OTHER, ["Cross Grid"], "geometry", None, 0.9),
    "other square, the picture does not": (0.01, {}, SUBJECT, OTHER, ["Cross Grid"], "geometry", None, 0.01),
    "other square, and a class above its threshold": (
        *(0.01, {"Inside": 0.8}, SUBJECT, OTHER),
        *(["Cross Grid", "Inside"], "geometry", None, 0.01),
    ),
    "other square, the best of none is not added": (
        *(0.01, {"Inside": 0.4}, SUBJECT, OTHER),
        *(["Cross Grid"], "geometry", None, 0.01),
    ),
    "British and Irish": (0.01, {}, SUBJECT, IRISH, ["Cross Grid"], "geometry", None, 0.01),
    "one square, a long view alone": (0.9, {"Extra": 0.2}, SUBJECT, SAME, ["Extra"], None, NOTE, 0.9),
    "one square, a long view and more": (0.9, {"Aerial": 0.6}, SUBJECT, SAME, ["Aerial"], None, NOTE, 0.9),
    "one square, a long view as the best of none": (0.4, {"Extra": 0.3}, SUBJECT, SAME, ["Extra"], None, NOTE, 0.4),
    "one square, no long view": (0.1, {"Extra": 0.7}, SUBJECT, SAME, ["Extra"], None, None, 0.1),
    "one square, no long view, none reached": (0.1, {"Extra": 0.3}, SUBJECT, SAME, ["Extra"], None, None, 0.1),
    "not said, a long view": (0.9, {"Extra": 0.2}, None, None, ["Cross Grid"], "model", None, 0.9),
    "not said, a long view and more": (0.7, {"Extra": 0.8}, None, None, ["Extra", "Cross Grid"], "model", None, 0.7),
    "not said, a long view as the best of none": (0.4, {"Extra": 0.3}, None, None, ["Cross Grid"], "model", None, 0.4),
    "not said, no long view": (0.1, {"Extra": 0.7}, None, None, ["Extra"], None, None, 0.1),
    "not said, none reached": (0.1, {"Extra": 0.3}, None, None, ["Extra"], None, None, 0.1),
    "one point missing": (0.9, {}, SUBJECT, None, ["Cross Grid"], "model", None, 0.9),
    "one point too coarse": (0.9, {}, SUBJECT, COARSE, ["Cross Grid"], "model", None, 0.9),
    "at the threshold": (0.5, {}, None, None, ["Cross Grid"], "model", None, 0.5),
    "a blank reference": (0.9, {}, SUBJECT, " ", ["Cross Grid"], "model", None, 0.9),
}


@pytest.mark.parametrize("case", CASES)
def test_cross_grid_decision(case):
    far, others, subject, viewpoint, types, source, note, score = CASES[case]
    probabilities = [far if name == "Cross Far" else others.get(name, 0.05) for name in CLASSES]
    found = decide(probabilities, HALF, CLASSES, subject, viewpoint)
    assert (found["types"], found["cross_grid"], found["note"], found["error"]) == (types, source, note, None)
    assert found["scores"]["Cross Far"] == score
    assert sorted(found["scores"]) == sorted(CLASSES)
    assert list(found["scores"].values()) == sorted(found["scores"].values(), reverse=True)


def test_each_class_has_its_own_threshold():
    thresholds = [0.9, 0.1, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert decide([0.8, 0.1, 0, 0, 0, 0, 0], thresholds, CLASSES)["types"] == ["Close Look"]


def test_decide_refuses_a_bad_reference():
    with pytest.raises(ValueError, match="ZZZ"):
        decide([0.1] * 7, HALF, CLASSES, "ZZZ", SAME)


def test_many_rows_at_once_are_decided_as_one_by_one():
    rng = np.random.default_rng(0)
    # Round numbers, so that ties and probabilities at their threshold are among them.
    probabilities = (rng.integers(0, 11, (3000, 7)) / 10).astype(np.float32)
    verdict = rng.integers(-1, 2, 3000).astype(np.int8)
    viewpoint = {NOT_SAID: None, SAME_SQUARE: SAME, OTHER_SQUARE: OTHER}
    thresholds = [0.5, 0.3, 0.7, 0.5, 0.9, 1.0, 0.6]
    chosen, doubted = choose(probabilities, thresholds, CLASSES, verdict)
    for i in range(3000):
        one = decide(probabilities[i], thresholds, CLASSES, SUBJECT, viewpoint[verdict[i]])
        names = {CLASSES[k].replace("Cross Far", "Cross Grid") for k in np.flatnonzero(chosen[i])}
        assert names == set(one["types"])
        assert bool(doubted[i]) == (one["note"] is not None)
        assert one["scores"] == {name: float(score) for name, score in zip(CLASSES, probabilities[i], strict=True)}


@pytest.fixture(scope="module")
def model() -> GeographModel:
    torch.manual_seed(0)
    return GeographModel(GeographConfig()).eval()


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> Path:
    return make_tiny_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def classify(model, tower) -> GeographPipeline:
    return GeographPipeline(model, task="geograph-types", vision_model=str(tower), dtype="float32")


@pytest.fixture(scope="module")
def vector() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(512).astype(np.float32)


def same(a: dict, b: dict) -> bool:
    """Equal but for the last bits, which the size of a batch may change."""
    return a["types"] == b["types"] and a["scores"] == pytest.approx(b["scores"], abs=1e-5)


def expected(model, vector, bucket: int) -> dict:
    with torch.no_grad():
        logits = model(torch.from_numpy(vector)[None], torch.tensor([bucket])).logits
    return decide(logits.sigmoid()[0].numpy(), model.config.thresholds, CLASSES)


def test_every_way_to_give_an_embedding(classify, model, vector):
    wanted = expected(model, vector, 5)
    source_row = {"gridimage_id": 7, "embeddings": base64.b64encode(vector.tobytes()).decode(), "distance": "16"}
    published = {"gridimage_id": 7, "embedding": vector.tolist(), "distance": "16", "distance_bucket": 5}
    for item in (source_row, published):
        found = classify(item)
        assert found.pop("gridimage_id") == 7
        assert found == wanted
    for item in (
        vector,
        torch.from_numpy(vector),
        vector.tolist(),
        {"embedding": vector},
        {"embedding": vector[None]},
    ):
        assert classify(item, distance=16) == wanted


@pytest.mark.parametrize(
    ("row", "bucket"),
    [
        ({"distance": None}, 22),
        ({}, 22),
        ({"distance": "Unknown"}, 22),
        ({"distance": ""}, 0),
        ({"distance": 0}, 0),
        ({"subject": SUBJECT, "viewpoint": SAME}, 8),  # 8 and 14 tens of metres: 161 m
        ({"subject": SUBJECT, "viewpoint": SAME, "distance": 16}, 5),
    ],
)
def test_the_distance_of_an_embedding(classify, model, vector, row, bucket):
    assert classify({"embedding": vector, **row})["scores"] == expected(model, vector, bucket)["scores"]


def test_null_in_a_source_row_is_zero(classify, model, vector):
    row = {"embeddings": base64.b64encode(vector.tobytes()).decode(), "distance": None}
    assert classify(row)["scores"] == expected(model, vector, 0)["scores"]


def test_places_decide(classify, vector):
    far = classify({"embedding": vector}, subject=SUBJECT, viewpoint=OTHER)
    assert far["cross_grid"] == "geometry" and far["types"][0] == "Cross Grid"
    assert (
        far["scores"] == classify({"embedding": vector}, distance=1000)["scores"]
    )  # the model's own, whatever is given
    # An item's own place goes before the call's.
    near = classify({"embedding": vector, "viewpoint": SAME}, subject=SUBJECT, viewpoint=OTHER)
    assert near["cross_grid"] is None and "Cross Grid" not in near["types"]


def test_thresholds_of_the_call(classify, vector):
    assert len(classify({"embedding": vector}, threshold=0)["types"]) == 7
    assert len(classify({"embedding": vector}, threshold=1.0)["types"]) == 1
    assert set(classify({"embedding": vector}, threshold=[0, 0, 1, 1, 1, 1, 1])["types"]) == {"Aerial", "Close Look"}
    for bad in (2, [0.5], "high"):
        with pytest.raises(ValueError, match="threshold must be"):
            classify({"embedding": vector}, threshold=bad)


def test_many_at_once(classify, vector):
    rows = [{"embedding": vector * scale, "gridimage_id": i + 1} for i, scale in enumerate(np.linspace(0.5, 2, 40))]
    one_by_one = [classify(row) for row in rows]
    for batch_size in (1, 7, None):
        options = {} if batch_size is None else {"batch_size": batch_size}
        found = classify(rows, **options)
        assert [row["gridimage_id"] for row in found] == list(range(1, 41))
        assert all(same(a, b) for a, b in zip(found, one_by_one, strict=True))
    assert same(classify([vector.tolist(), vector.tolist()])[1], classify(vector))
    assert classify([]) == []


def test_generators_are_read_as_the_answers_are_taken(classify, vector):
    taken = []

    def rows():
        for i in range(1000):
            taken.append(i)
            yield {"embedding": vector}

    answers = classify(rows())
    next(answers), next(answers)
    assert len(taken) == 2


def test_datasets(classify, vector):
    import datasets

    rows = [{"gridimage_id": i, "embedding": vector.tolist(), "distance": "16"} for i in range(1, 6)]
    table = datasets.Dataset.from_list(rows)

    class Torch(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, i):
            return rows[i]

    wanted = classify(rows)
    for dataset in (table, table.to_iterable_dataset(), Torch()):
        found = list(classify(dataset))
        assert [row["gridimage_id"] for row in found] == [1, 2, 3, 4, 5]
        assert all(same(a, b) for a, b in zip(found, wanted, strict=True))


def test_every_way_to_give_a_photo(classify, model, tower, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(landscape(300, 260), "PNG"))
    image = Image.open(path).convert("RGB")
    # Golden: the tower as its own library runs it.
    processor = CLIPImageProcessor.from_pretrained(tower)
    clip = CLIPVisionModelWithProjection.from_pretrained(tower).eval()
    with torch.no_grad():
        features = clip(**processor(images=image, return_tensors="pt")).image_embeds[0].numpy()
    wanted = expected(model, features, 5)
    photos = [str(path), path, path.read_bytes(), image, np.asarray(image), {"photo": image}, {"path": str(path)}]
    for photo in photos:
        found = classify(photo, distance=16)
        assert found["scores"] == pytest.approx(wanted["scores"], abs=0.01)
    assert classify(path)["path"] == str(path) and "path" not in classify(image)
    assert all(same(a, classify(path)) for a in classify([image, np.asarray(image), path]))


def test_what_cannot_be_done(classify, vector, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a photo")
    bad = {
        "broken.jpg": str(tmp_path / "broken.jpg"),
        "missing.jpg": str(tmp_path / "missing.jpg"),
        "3 numbers, expected 512": {"embedding": [1.0, 2.0, 3.0]},
        "NaN": {"embedding": vector * np.nan},
        "base64": {"embeddings": "!!"},
        "grid reference": {"embedding": vector, "subject": "nowhere"},
        "expected one of embedding": {"title": "a view"},
        "distance": {"embedding": vector, "distance": -4},
        "expected a photo or an embedding": None,
    }
    for message, item in bad.items():
        with pytest.raises(ValueError, match=message):
            classify(item)
    found = classify([{"embedding": vector}, *bad.values(), {"embedding": vector}])
    assert found[0]["error"] is None and found[-1]["error"] is None
    for answer in found[1:-1]:
        assert answer["types"] == [] and answer["scores"] is None and "\n" not in answer["error"]
    assert found[1]["path"] == bad["broken.jpg"]


def test_the_tower_is_loaded_at_the_first_photo_only(model, vector):
    classify = GeographPipeline(model, task="geograph-types", vision_model="/nowhere/tower")
    assert classify({"embedding": vector})["error"] is None
    with pytest.raises(OSError, match="cannot load the vision tower '/nowhere/tower'"):
        classify(Image.new("RGB", (64, 64)))


def test_another_kind_of_model_is_refused():
    other = CLIPVisionModelWithProjection(
        CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    with pytest.raises(ValueError, match="model of type 'geograph'"):
        GeographPipeline(other, task="geograph-types")


def test_half_precision(model, vector, tmp_path):
    save_model_repository(model, tmp_path)
    half = pipeline("geograph-types", model=str(tmp_path), trust_remote_code=True, dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    exact = GeographPipeline(model, task="geograph-types")({"embedding": vector})["scores"]
    assert half({"embedding": vector})["scores"] == pytest.approx(exact, abs=0.02)


FRESH = """
import sys, numpy as np
from transformers import pipeline
folder, again, tower, photo = sys.argv[1:]
v = {"embedding": np.arange(512) / 512}
classify = pipeline("geograph-types", model=folder, trust_remote_code=True, device="cpu")
first = classify(v, distance=16)
classify.save_pretrained(again)
classify = pipeline("geograph-types", model=again, trust_remote_code=True, vision_model=tower)
assert classify(v, distance=16) == first, first
assert classify(photo)["error"] is None
try:
    pipeline("geograph-types", model=folder, trust_remote_code=False)
except ValueError:
    print("refused", first["types"])
"""

REGISTERED = """
import sys
from transformers import AutoModel, pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from pipeline_geograph import GeographPipeline
PIPELINE_REGISTRY.register_pipeline("geograph-types", pipeline_class=GeographPipeline, pt_model=AutoModel)
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
print(pipeline("geograph-types", model=model)({"embedding": [0.1] * 512})["types"])
"""


def run_fresh(code: str, *args: object, path: str = "") -> str:
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": cache}
        environment["PYTHONPATH"] = path
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, args)], env=environment, cwd=cache, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_the_hub_layout_in_a_fresh_process(model, tower, tmp_path):
    save_model_repository(model, tmp_path / "model")
    (tmp_path / "photo.jpg").write_bytes(encoded(landscape(100, 80)))
    said = run_fresh(FRESH, tmp_path / "model", tmp_path / "again", tower, tmp_path / "photo.jpg")
    assert said.startswith("refused")


def test_registered_in_a_fresh_process(model, root, tmp_path):
    save_model_repository(model, tmp_path / "model")
    assert run_fresh(REGISTERED, tmp_path / "model", path=str(root)).startswith("[")
