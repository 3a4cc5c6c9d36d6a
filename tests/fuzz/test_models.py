"""Odd settings, damaged model folders and checkpoints, what visitors of the Space type: taken, or refused in words."""

import io
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configuration_geograph import FIELDS, GeographConfig
from geograph_types.cli import CommandError
from geograph_types.hub.converting import convert
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.hub.models import load_model
from modeling_geograph import GeographModel
from names_geograph import CLASSES
from tests.support.fuzzing import TRIED, cases, report

WEIGHTS, SETTINGS = "model.safetensors", "config.json"


@pytest.fixture(scope="module", autouse=True)
def counted():
    yield
    report()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("whole") / "model"
    save_model_repository(GeographModel(GeographConfig(embedding_dim=8, hidden_dim=4)), made)
    return made


@pytest.fixture(scope="module")
def checkpoint():
    """The bytes of a .pth as the official ones are."""
    torch.manual_seed(0)
    state = GeographModel(GeographConfig()).state_dict()
    state["dist_emb.weight"] = torch.cat([state["dist_emb.weight"], torch.zeros(1, 16)])
    file = io.BytesIO()
    torch.save({"model_state_dict": state, "classes": CLASSES}, file)
    return file.getvalue()


odd = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**40), st.floats(), st.text(max_size=6),
    st.lists(st.one_of(st.floats(-1, 2), st.text(max_size=3)), max_size=8),
    st.dictionaries(st.text(max_size=2), st.none()),
)  # fmt: skip
sizes = st.sampled_from([1, 2, 8, 16, 23, 30])
settings = st.dictionaries(st.sampled_from(FIELDS), odd | sizes, max_size=3)
damages = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)


def damaged(data: bytes, damage: list[tuple[float, int]], cut: float) -> bytes:
    """Some bytes changed, and the end left out."""
    found = bytearray(data)
    for where, value in damage:
        found[min(int(where * len(found)), len(found) - 1)] = value
    return bytes(found[: max(1, int(cut * len(found)))])


@cases(60)
@given(values=settings)
def test_settings_are_refused_or_make_a_model(tmp_path_factory, values):
    TRIED["settings"] += 1
    try:
        config = GeographConfig(**values)
    except ValueError as error:
        assert len(str(error)) < 1000 and "\n" not in str(error)
        return
    again = GeographConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert {name: getattr(again, name) for name in FIELDS} == {name: getattr(config, name) for name in FIELDS}
    if config.embedding_dim * config.hidden_dim < 10**6 and config.num_distance_buckets < 10**4:
        model = GeographModel(config).eval()
        vector, distance = torch.zeros(2, config.embedding_dim), torch.zeros(2, dtype=torch.long)
        assert model(vector, distance).logits.shape == (2, len(config.classes))


@cases(30)
@given(name=st.sampled_from([WEIGHTS, SETTINGS]), damage=damages, cut=st.sampled_from([1.0, 1.0, 0.9, 0.3, 0.0]))
def test_a_damaged_folder_is_one_line_or_a_model(folder, name, damage, cut):
    TRIED["damaged model folders"] += 1
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, damage, cut))
    try:
        model = load_model(folder)
        answer = model(torch.zeros(1, model.config.embedding_dim), torch.zeros(1, dtype=torch.long)).logits
        assert answer.isfinite().all() or answer.abs().max() > 1e30  # a changed number is a number
    except CommandError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    finally:
        path.write_bytes(whole)


@cases(40)
@given(damage=damages, cut=st.sampled_from([1.0, 1.0, 0.95, 0.5, 0.0]))
def test_a_damaged_checkpoint_is_refused_or_converted_whole(tmp_path_factory, checkpoint, damage, cut):
    TRIED["damaged checkpoints"] += 1
    place = tmp_path_factory.mktemp("checkpoint")
    (place / "official.pth").write_bytes(damaged(checkpoint, damage, cut))
    try:
        convert(place / "official.pth", place / "model", None)
    except (CommandError, ValueError) as error:
        assert "\n" not in str(error) and not (place / "model").exists()
        return
    assert all(value.isfinite().all() for value in load_model(place / "model").state_dict().values())


typed = st.text(max_size=12) | st.sampled_from(
    ["TQ 3003 8048", "51.5, -0.1", "-0.1, 51.5", "5000 m", "2.5 km", "unknown", "1e999", "\u202eTQ", "<b>", "9" * 200]
)
members = st.dictionaries(
    st.sampled_from(["embedding", "embeddings", "distance", "subject", "viewpoint", "gridimage_id"]), odd, max_size=4
)


@cases(80)
@given(row=members | st.text(max_size=30), distance=typed, subject=typed, viewpoint=typed)
def test_a_visitor_is_answered_or_told_which_field(row, distance, subject, viewpoint):
    asking = pytest.importorskip("geograph_types.space.asking", reason="the extra space is not installed")
    TRIED["what visitors type"] += 1
    if isinstance(row, dict) and len(row) % 2:
        row["embedding"] = [1.0] * 8
    for ask in (
        lambda: asking.question_of_row(row, 8, distance, subject, viewpoint),
        lambda: asking.question_of_photo(b"", distance, subject, viewpoint),
    ):
        try:
            question = ask()
            assert 0 <= question.bucket <= 22
        except asking.Mistake as mistake:
            assert mistake.field in ("row", "distance", "subject", "viewpoint")
            assert "\n" not in str(mistake) and len(str(mistake)) < 600
