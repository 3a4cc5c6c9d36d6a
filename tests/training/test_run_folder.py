"""What an earlier run left in the folder: the same run goes on, another is refused with what differs."""

import json

import pytest

from geograph_types.cli import CommandError
from geograph_types.hub.run_files import FINISHED, SETTINGS, WEIGHTS
from geograph_types.training.run_folder import checkpoint_to_go_on_from

SEED = {"seed": 1}


def left_by(folder, settings):
    """A folder of a finished run."""
    (folder / SETTINGS).write_text(json.dumps(settings))
    (folder / FINISHED).write_text("{}")
    return folder


def test_a_flag_that_is_new_and_unset_makes_no_difference(tmp_path):
    assert checkpoint_to_go_on_from(left_by(tmp_path, SEED), SEED | {"revision": None}) is None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"seed": 2}, "a run with seed 1, not 2"),
        ({"train_rows": "f00d"}, "did not note its train rows, as version 1.0.0 did not"),
    ],
)
def test_another_run_is_refused(tmp_path, now, said):
    with pytest.raises(CommandError, match=said):
        checkpoint_to_go_on_from(left_by(tmp_path, SEED), SEED | now)


def test_a_model_of_which_nothing_is_known_is_refused(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"")
    with pytest.raises(CommandError, match="holds a model and no training_settings"):
        checkpoint_to_go_on_from(tmp_path, SEED)
