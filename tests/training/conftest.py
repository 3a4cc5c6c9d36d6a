"""One small dataset and one trained model, which all tests of training share."""

import pytest

from tests.support.commands import Done, in_process, made_dataset

# Quick, and enough for the model to learn something.
FLAGS = (
    *("--num_train_epochs", 6, "--per_device_train_batch_size", 128, "--folds", 0),
    *("--clean_labels", False, "--distance_faults", False),
)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return made_dataset(tmp_path_factory.mktemp("rows") / "geograph-types", "synthetic:1500")


@pytest.fixture(scope="session")
def train(dataset):
    """train.py in this process, on the shared dataset unless another is named; the last of equal flags counts."""

    def train(output, *flags) -> Done:
        return in_process("train", "--dataset", dataset, "--output_dir", output, *FLAGS, *flags)

    return train


@pytest.fixture(scope="session")
def trained(train, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "model"
    done = train(output)
    assert done.returncode == 0, done.stderr
    return output
