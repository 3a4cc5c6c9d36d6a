"""The configuration: what it refuses, and that it survives being saved."""

import json
import sys

import pytest
from transformers import AutoConfig

from configuration_geograph import GeographConfig
from names_geograph import CLASSES, VISION_MODEL_REVISION
from tests.conftest import ROOT


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
        ({"hidden_dim": 10_000_000}, "hidden_dim must be a whole number of at least 1, at most 65536, got 10000000"),
        ({"embedding_dim": 60_000, "hidden_dim": 60_000}, "weights"),
        ({"num_distance_buckets": 1}, "at least 2"),
        ({"classes": ["Aerial", 7]}, "different names"),
        ({"vision_model": ""}, "vision_model"),
        ({"synthetic": "no"}, "synthetic"),
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [7, 8]}, "thresholds must be 7 numbers, one a class, got \\[7, 8\\]"),
        ({"thresholds": [50] * 7}, "between 0 and 1"),
        ({"classes": ["A", "A"]}, "different names"),
        ({"hidden_dim": 10_000_000}, "hidden_dim"),
        ({"dropout": "much"}, "dropout"),
    ],
)
def test_values_given_to_from_pretrained_are_checked(root, changes, message):
    for kind in (GeographConfig, AutoConfig):
        with pytest.raises(ValueError, match=message) as refused:
            kind.from_pretrained(root, trust_remote_code=True, **changes)
        assert "\n" not in str(refused.value)


def test_other_classes_given_to_from_pretrained_begin_with_thresholds_of_a_half(root):
    config = AutoConfig.from_pretrained(root, trust_remote_code=True, classes=["A", "B"], hidden_dim=8, unknown=1)
    assert config.thresholds == [0.5, 0.5] and config.id2label == {0: "A", 1: "B"} and config.hidden_dim == 8


def test_values_changed_since_are_checked_when_saved(tmp_path):
    config = GeographConfig()
    config.thresholds = [0.5]
    with pytest.raises(ValueError, match="7 numbers"):
        config.save_pretrained(tmp_path)


def test_an_older_transformers_is_named(root):
    """In a module whose transformers lacks what 5.0 brought."""
    import types

    old = types.ModuleType("transformers")
    old.__version__ = "4.57.1"
    source = (root / "configuration_geograph.py").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "transformers", old)
        with pytest.raises(ImportError, match=r"needs transformers 5.0 or newer, found 4.57.1; pip install -U"):
            exec(compile(source, "configuration_geograph.py", "exec"), {"__name__": "config"})  # noqa: S102


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


@pytest.mark.parametrize("given", [{"num_labels": 3}, {"id2label": {0: "a"}}, {"label2id": {"a": 0}}, {"id2label": 5}])
def test_labels_that_contradict_the_classes_are_refused(given):
    with pytest.raises(ValueError, match="contradicts"):
        GeographConfig(**given)
    with pytest.raises(ValueError, match="contradicts"):
        GeographConfig.from_pretrained(ROOT, **given)
    assert GeographConfig.from_pretrained(ROOT, classes=["a", "b"]).id2label == {0: "a", 1: "b"}
