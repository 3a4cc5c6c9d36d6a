"""What nobody has thought of, handed to the pipeline or written in a table: answered, or refused in words."""

import csv
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configuration_geograph import GeographConfig
from geograph_types.cli import CommandError
from geograph_types.prediction.inputs import open_input
from geograph_types.prediction.parts import Options
from modeling_geograph import GeographModel
from names_geograph import CLASSES
from pipeline_geograph import GeographPipeline
from tests.support.fuzzing import TRIED, cases, report

DIM = 4
PREDICTION = {"types", "scores", "cross_grid", "note", "error"}


@pytest.fixture(scope="module", autouse=True)
def counted():
    yield
    report()


@pytest.fixture(scope="module")
def classify():
    torch.manual_seed(0)
    model = GeographModel(GeographConfig(embedding_dim=DIM, hidden_dim=4)).eval()
    return GeographPipeline(model, task="geograph-types", vision_model="/nowhere")  # photos are only read so far


numbers = st.floats(width=32) | st.integers(-(2**70), 2**70)
odd = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=8), st.binary(max_size=20), st.lists(numbers, max_size=6),
    st.sampled_from(["TQ 3003 8048", "O 159 346", "51.5, -0.1", "", " 16 ", "16.0", "1e999", "\ud800", "\0"]),
)  # fmt: skip
vectors = st.lists(st.floats(-9, 9, width=32), min_size=DIM, max_size=DIM)
arrays = st.builds(
    lambda shape, kind, value: np.full(shape, value).astype(kind),
    st.lists(st.integers(0, 5), max_size=4).map(tuple),
    st.sampled_from(["f4", "f8", "i8", "u1", "?", "O"]),
    st.floats(0, 1),
)
names = st.sampled_from([
    "embedding", "embeddings", "gridimage_id", "distance", "distance_bucket", "subject", "viewpoint", "types", "title",
])  # fmt: skip
rows = st.dictionaries(names | st.text(max_size=4), odd | vectors | arrays, max_size=5)
good = st.builds(lambda row, vector: {**row, "embedding": vector}, rows, vectors)
items = st.one_of(odd, arrays, arrays.map(lambda a: torch.tensor(a) if a.dtype != object else a), rows, good)


def as_expected(answer) -> None:
    assert answer.keys() >= PREDICTION
    if answer["error"] is None:
        assert answer["types"] and sorted(answer["scores"]) == sorted(CLASSES)
        assert all(0 <= score <= 1 for score in answer["scores"].values())
    else:
        assert answer["types"] == [] and answer["scores"] is None
        assert answer["error"] and "\n" not in answer["error"] and len(answer["error"]) < 1000


@cases(60)
@given(item=items, place=st.fixed_dictionaries({}, optional=dict.fromkeys(("distance", "subject", "viewpoint"), odd)))
def test_the_pipeline_answers_or_says_why(classify, item, place):
    TRIED["inputs of the pipeline"] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = classify(item, **place)
            for answer in found if isinstance(found, list) else [found]:
                as_expected(answer)
        except (ValueError, OSError):  # in words; OSError: there is no tower for a photo
            pass


@cases(30)
@given(many=st.lists(good, min_size=1, max_size=4))
def test_one_of_many_never_stops_the_others(classify, many):
    TRIED["lists of the pipeline"] += 1
    right = {"embedding": [1.0] * DIM}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = classify([*many, right])
    assert len(found) == len(many) + 1 and found[-1]["error"] is None
    for answer in found:
        as_expected(answer)


cells = st.text(max_size=10) | st.sampled_from(
    ["TQ 3003 8048", "16", "=cmd()", "http://[::1", "x" * 300, "\udcff", "NaN"]
)


@cases(40)
@given(
    heading=st.lists(st.sampled_from(["distance", "subject", "viewpoint", "latitude", "longitude", "x"]), max_size=3),
    lines=st.lists(st.lists(cells, max_size=5), min_size=1, max_size=5),
)
def test_a_table_of_photos_is_read_to_its_end(tmp_path_factory, heading, lines):
    TRIED["tables of photos"] += 1
    path = tmp_path_factory.mktemp("table") / "photos.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([["path", *heading], *lines])
    try:
        asked = open_input([str(path)])
        found = [block for _, block in asked.blocks(2, None, Options(DIM))]
    except CommandError as error:
        assert str(error)
        return
    for block in found:
        assert len(block.key) == len(block.photos) == len(block.bucket)
        assert ((block.bucket >= 0) & (block.bucket <= 22)).all()
