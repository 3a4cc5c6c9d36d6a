"""What people hand to the pipeline is taken for what it is: arrays, tensors, files, batches, lists; or named."""

import base64
import io
import pickle

import datasets
import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from configuration_geograph import GeographConfig
from modeling_geograph import GeographModel
from names_geograph import CLASSES
from pipeline_geograph import GeographPipeline
from tests.support.tiny_tower import make_tiny_tower

SUBJECT, OTHER = "TQ 3003 8048", "TQ 3103 8048"


@pytest.fixture(scope="module")
def classify(tmp_path_factory) -> GeographPipeline:
    torch.manual_seed(0)
    tower = make_tiny_tower(tmp_path_factory.mktemp("tower"))
    model = GeographModel(GeographConfig()).eval()
    return GeographPipeline(model, task="geograph-types", vision_model=str(tower), dtype="float32")


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 512)).astype(np.float32) * 0.45


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return (np.random.default_rng(2).random((60, 80, 3)) * 255).astype(np.uint8)


def scores(answers) -> np.ndarray:
    answers = [answers] if isinstance(answers, dict) else list(answers)
    assert all(answer["error"] is None for answer in answers)
    return np.array([[answer["scores"][name] for name in CLASSES] for answer in answers])


def test_what_a_clip_tower_returns_is_embeddings(classify, vectors):
    wanted = scores([classify({"embedding": vector}) for vector in vectors])
    for many in (vectors, torch.tensor(vectors), vectors.astype(np.float64), list(vectors), vectors.tolist()):
        found = classify(many)
        assert isinstance(found, list)
        assert scores(found) == pytest.approx(wanted, abs=1e-5)
    assert scores(classify(vectors[:1])) == pytest.approx(wanted[:1], abs=1e-5)
    assert classify(vectors[:0]) == []
    with pytest.raises(ValueError, match=r"float \[3, 768\]: neither embeddings \[N, 512\] nor a grey photo"):
        classify(np.ones((3, 768)) * -1)
    for nothing in (np.zeros((0, 0)), torch.zeros(0, 0)):
        with pytest.raises(ValueError, match=r"float \[0, 0\]: neither"):
            classify(nothing)


def test_batches_rows_and_frames_of_a_dataset(classify, vectors):
    rows = [{"gridimage_id": i + 1, "embedding": v.tolist(), "distance": "16"} for i, v in enumerate(vectors)]
    table, wanted = datasets.Dataset.from_list(rows), scores(classify(rows))
    formats = [table.with_format(name)[:3] for name in (None, "numpy", "torch", "pandas")]
    for batch in (*formats, pandas.DataFrame(rows)):
        found = classify(batch)
        assert [answer["gridimage_id"] for answer in found] == [1, 2, 3]
        assert all(type(answer["gridimage_id"]) is int for answer in found)
        assert scores(found) == pytest.approx(wanted, abs=1e-5)
    assert len(classify(table.with_format("torch")[:1])) == 1
    types = table.map(lambda row: {"found": classify(row)["types"]})["found"]  # a LazyRow
    assert list(types) == [answer["types"] for answer in classify(rows)]
    with pytest.raises(ValueError, match="unknown key 'distanz'"):
        classify({"embedding": vectors, "distanz": [1, 2, 3]})
    with pytest.raises(ValueError, match="two columns have one name"):
        classify(pandas.DataFrame([[vectors[0], 1, 2]], columns=["embedding", "distance", "distance"]))
    with pytest.raises(ValueError, match="different lengths"):
        classify({"embedding": vectors.tolist(), "gridimage_id": [1]})


def test_photos_as_files_tensors_and_arrays(classify, pixels, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    wanted = scores(classify(path))
    tensor = torch.tensor(pixels)
    with path.open("rb") as file:
        found = classify(file)
    assert found["path"] == str(path)
    found = [found, classify(io.BytesIO(path.read_bytes())), classify({"photo": pixels, "distance": ""})]
    found += [classify(tensor), classify(tensor.permute(2, 0, 1)), classify(tensor.permute(2, 0, 1) / 255)]
    found += [classify(pixels.transpose(2, 0, 1)), *classify(np.stack([pixels, pixels])), *classify(tensor[None])]
    assert scores(found) == pytest.approx(np.repeat(wanted, len(found), axis=0), abs=1e-3)
    with path.open(encoding="latin-1") as file, pytest.raises(ValueError, match="binary mode"):
        classify(file)
    assert scores(classify([path.open("rb"), pixels])) == pytest.approx(np.repeat(wanted, 2, axis=0), abs=1e-3)


def test_one_value_for_each_of_a_list(classify, vectors):
    pair = [vectors[0], vectors[0]]
    each = [classify(vectors[0], distance=16), classify(vectors[0], distance=5000)]
    assert scores(classify(pair, distance=[16, 5000])) == pytest.approx(scores(each), abs=1e-5)
    found = classify(pair, subject=SUBJECT, viewpoint=[OTHER, None])
    assert [answer["cross_grid"] == "geometry" for answer in found] == [True, False]
    for bad, item in (([1], pair), ([1, 2], vectors[0])):
        with pytest.raises(ValueError, match="distance is a list"):
            classify(item, distance=bad)


def test_a_row_goes_before_the_call_where_it_says_something(classify, vectors):
    own = {"embedding": vectors[0]}
    assert classify({**own, "subject": None}, subject=SUBJECT, viewpoint=OTHER)["cross_grid"] == "geometry"
    sixteen = scores(classify(own, distance=16))
    for row in ({"distance_bucket": 5}, {"distance": "16.0"}, {"distance": 17}, {"distance": None}):
        assert scores(classify({**own, **row}, distance=16)) == pytest.approx(sixteen)
    assert scores(classify(own, distance="")) == pytest.approx(scores(classify(own)))  # left blank
    zero = scores(classify(own, distance=0))
    assert scores(classify({**own, "distance": ""})) == pytest.approx(zero)  # a row's own, as the source writes it


def test_a_distance_that_contradicts_the_points_is_answered_with_a_word(classify, vectors):
    """A coordinate may be wrong, or the distance: which of them is not known here."""
    own = {"embedding": vectors[0], "subject": SUBJECT, "viewpoint": OTHER}  # 1,000 m
    says = "the distance says 16 m, but the two points are 1,000 m apart: one of them is wrong"
    for given in ({"distance": 16}, {"distance": "16"}, {"distance_bucket": 5}):
        found = classify({**own, **given})
        assert found["note"] == says
        assert scores(found) == pytest.approx(scores(classify({"embedding": vectors[0], **given})))
    assert classify(own, distance=16)["note"] == says
    for fits in ({}, {"distance": 1000}, {"distance": 512}, {"distance": "Unknown"}):
        assert classify({**own, **fits})["note"] is None


def test_two_values_that_contradict_are_refused(classify, vectors):
    own = {"embedding": vectors[0]}
    both = {**own, "distance": 300, "distance_bucket": 9}  # 256 m and over
    assert scores(classify(both)) == pytest.approx(scores(classify(own, distance=256)))
    for bad, reason in (
        (
            {**own, "distance": 16, "distance_bucket": 9},
            "distance 16 is bucket 5, and distance_bucket says 9; keep one",
        ),
        ({**own, "embeddings": vectors[1]}, "embedding and embeddings are two different vectors; keep one"),
        ({"photo": "a.jpg", "path": "b.jpg"}, "photo 'a.jpg' and path 'b.jpg' name two photos; keep one"),
    ):
        with pytest.raises(ValueError) as said:
            classify(bad)
        assert str(said.value) == reason
        assert classify([bad])[0]["error"] == reason


def test_what_is_unknown_is_named(classify, vectors):
    text = base64.urlsafe_b64encode(vectors[0].tobytes()).decode().rstrip("=")
    with pytest.raises(ValueError, match="unknown key 'distanz'"):
        classify({"embedding": vectors[0], "distanz": 5})
    with pytest.warns(UserWarning, match="not looked at in a source row: 'user'"):
        assert classify({"gridimage_id": "7", "embeddings": text, "user": "x"})["gridimage_id"] == 7
    with pytest.raises(ValueError, match="no top_k"):
        classify(vectors[0], top_k=2)
    assert len(classify(vectors[0], thresholds=0)["types"]) == 7
    with pytest.raises(ValueError, match="mean the same"):
        classify(vectors[0], threshold=0.5, thresholds=0.5)
    with pytest.raises(ValueError) as said:
        classify({"embeddings": "A" * 100_000})
    assert len(str(said.value)) < 200


def test_normalised_vectors_are_answered_and_named(classify, vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="looks normalised"):
        found = classify([unit[0], vectors[0]])
    assert [answer["note"] for answer in found] == ["its embedding looks normalised", None]


def test_a_pipeline_with_a_loaded_tower_is_pickled(classify, pixels):
    wanted = classify(pixels)
    again = pickle.loads(pickle.dumps(classify))  # noqa: S301
    assert scores(again(pixels)) == pytest.approx(scores(wanted), abs=1e-5)


def test_a_missing_tower_speaks_python_in_python(classify):
    with pytest.raises(OSError) as said:
        GeographPipeline(classify.model, task="geograph-types", vision_model="/nowhere")(Image.new("RGB", (64, 64)))
    assert "--" not in str(said.value)
