"""The configuration: what it refuses, and that it survives being saved."""

import json

import pytest

from configuration_geograph import GeographConfig
from names_geograph import CLASSES, VISION_MODEL_REVISION


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": []}, "different names"),
        ({"classes": ["Aerial", "Aerial"]}, "different names"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"embedding_dim": 512.0}, "embedding_dim"),
        ({"num_distance_buckets": True}, "num_distance_buckets"),
        ({"distance_embedding_dim": -1}, "distance_embedding_dim"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"thresholds": [0.5]}, "7 numbers"),
        ({"thresholds": 0.5}, "7 numbers"),
        ({"classes": "abc"}, "list of names"),
        ({"thresholds": [0.5] * 6 + [1.5]}, "between 0 and 1"),
        ({"cross_far_min_distance": -1}, "metres"),
    ],
)
def test_refuses_values_that_no_classifier_can_have(values, message):
    with pytest.raises(ValueError, match=message):
        GeographConfig(**values)


def test_saved_and_read_back(tmp_path):
    config = GeographConfig(
        hidden_dim=64, thresholds=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], synthetic=True, cross_far_min_distance=256
    )
    config.save_pretrained(tmp_path)
    again = GeographConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert again.synthetic is True
    assert again.id2label == dict(enumerate(CLASSES))
    assert again.label2id == {name: i for i, name in enumerate(CLASSES)}
    assert again.num_labels == 7


def test_other_classes_carry_their_own_labels():
    config = GeographConfig(classes=["a", "b"])
    assert config.id2label == {0: "a", 1: "b"}
    assert config.thresholds == [0.5, 0.5]


def test_config_json_of_the_clone_holds_the_defaults(root):
    kept = json.loads((root / "config.json").read_text())
    default = GeographConfig().to_dict()
    for name in ("classes", "num_distance_buckets", "embedding_dim", "distance_embedding_dim", "hidden_dim", "dropout",
                 "thresholds", "vision_model", "cross_far_min_distance", "synthetic", "problem_type"):  # fmt: skip
        assert kept[name] == default[name], name
    assert kept["vision_model_revision"] == VISION_MODEL_REVISION
    assert kept["auto_map"] == {
        "AutoConfig": "configuration_geograph.GeographConfig",
        "AutoModel": "modeling_geograph.GeographModel",
    }
    assert kept["custom_pipelines"]["geograph-types"]["impl"] == "pipeline_geograph.GeographPipeline"
