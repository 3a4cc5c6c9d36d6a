"""A model folder as the Hub wants it, and its card."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from configuration_geograph import GeographConfig
from geograph_types.files import write_json
from geograph_types.hub.cards import fill_card
from geograph_types.hub.model_card import write_card
from geograph_types.hub.model_folder import CODE_KEYS, TRAVELLING_FILES, save_model_repository
from modeling_geograph import GeographModel
from names_geograph import CLASSES


@pytest.fixture
def figures() -> dict:
    one = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "average_precision": 0.88, "support": 40, "threshold": 0.31}
    return {
        "n": 1234, "loss": 0.0512, "f1_macro": 0.8765, "f1_micro": 0.9123, "average_precision_macro": 0.9012,
        "per_class": {name: dict(one) for name in CLASSES},
        "true_drone_recall": 0.5, "true_drone_n": 6, "pseudo_drone_recall": None, "pseudo_drone_n": 0,
        "by_distance": {"Unknown": {"n": 12, "f1_macro": 0.7}, "128 m and over": {"n": 0, "f1_macro": None}},
    }  # fmt: skip


def test_the_folder_is_whole(tmp_path, root):
    save_model_repository(GeographModel(GeographConfig(synthetic=True)), tmp_path)
    wanted = {*TRAVELLING_FILES, "model.safetensors", "config.json", "requirements.txt"}
    assert {path.name for path in tmp_path.iterdir()} == wanted
    for name in TRAVELLING_FILES:
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()
    config = json.loads((tmp_path / "config.json").read_text())
    default = json.loads((root / "config.json").read_text())
    assert {key: config[key] for key in CODE_KEYS} == {key: default[key] for key in CODE_KEYS}
    assert config["synthetic"] is True


def test_the_card_holds_the_figures_and_the_metadata(tmp_path, figures):
    write_card(tmp_path, GeographConfig(cross_far_min_distance=256), figures, "test")
    card = ModelCard.load(tmp_path / "README.md")
    data, told = card.data, card.data.to_dict()
    assert (told["license"], told["library_name"], told["pipeline_tag"]) == (
        "cc-by-sa-4.0",
        "transformers",
        "image-classification",
    )
    assert data.base_model == "openai/clip-vit-base-patch32"
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    assert values["f1"] == 0.8765
    assert {result.dataset_split for result in data.eval_results} == {"test"}
    assert "1,234 rows" in card.text
    assert "macro F1\n0.876" in card.text
    for name in CLASSES:
        assert f"| {name} | 0.900 | 0.800 | 0.850 | 0.880 | 40 | 0.310 |" in card.text
    assert "50 % of 6 true drone photos. With so few" in card.text
    assert "pseudo drone photos." not in card.text, "there is none in this split"
    assert "above 256 m" in card.text
    assert "revision=" in card.text
    for licence in ("Apache-2.0", "CC BY-SA 4.0", "CC BY-SA 2.0"):
        assert licence in card.text
    assert "synthetic" not in card.text.lower()


def test_sections_without_figures_stay_out(tmp_path):
    write_card(tmp_path, GeographConfig(), None)
    text = (tmp_path / "README.md").read_text()
    for heading in ("How good it is", "Where it comes from", "Learning curve", "Reliability"):
        assert heading not in text
    for leftover in ("{{", "{%", "None"):
        assert leftover not in text
    assert ModelCard.load(tmp_path / "README.md").data.eval_results is None


def test_pieces_from_elsewhere_find_their_place(tmp_path, figures):
    write_card(tmp_path, GeographConfig(), figures, "test", comparison="COMPARED", report="REPORTED",
               origin="CAME FROM", reliability_plot="reliability.png")  # fmt: skip
    text = (tmp_path / "README.md").read_text()
    assert [text.index(piece) for piece in ("REPORTED", "COMPARED", "CAME FROM")] == sorted(
        text.index(piece) for piece in ("REPORTED", "COMPARED", "CAME FROM")
    )
    assert "](reliability.png)" in text


def test_a_synthetic_model_says_so_first(tmp_path, figures):
    write_card(tmp_path, GeographConfig(synthetic=True), figures, "test")
    card = ModelCard.load(tmp_path / "README.md")
    assert "synthetic" in card.data.tags
    assert "(synthetic)" in card.data.eval_results[0].dataset_name
    assert card.text.index("Trained on synthetic rows") < card.text.index("## Use it")


def test_a_template_with_and_without_its_values(tmp_path):
    template = tmp_path / "card.md"
    template.write_text("# {{ name }}\n{% if rows %}\n{{ rows }} rows\n{% endif %}\nend\n")
    assert fill_card(template, {"name": "A & B", "rows": 3}) == "# A & B\n3 rows\nend\n"
    assert fill_card(template, {"name": "A"}) == "# A\nend\n"


def test_json_is_whole_and_readable(tmp_path):
    path: Path = tmp_path / "x.json"
    write_json(path, {"name": "Loch Ness – north"})
    assert path.read_text() == '{\n  "name": "Loch Ness – north"\n}\n'
