"""Models that learn side by side: each as if alone, and none goes on where another failed."""

import pytest
import torch

from geograph_types.inference import torch_threads
from geograph_types.training.fitting import Fitter
from geograph_types.training.training_arguments import GeographTrainingArguments
from layers_geograph import QuickDropout

ROWS = 400


@pytest.fixture
def fitter(tmp_path):
    args = GeographTrainingArguments(output_dir=str(tmp_path), num_train_epochs=4, use_cpu=True,
                                     per_device_train_batch_size=64)  # fmt: skip
    return Fitter(args, patience=0)


def job(fitter: Fitter, seed: int, epochs: int | None = None):
    """Fits a small network with dropout to random rows: all its weights."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), QuickDropout(0.5), torch.nn.Linear(256, 1))
    columns = torch.randn(ROWS, 64), torch.randn(ROWS, 1)

    def loss_of(vector, wanted) -> torch.Tensor:
        return ((model(vector) - wanted) ** 2).mean()

    def run() -> torch.Tensor:
        fitter.fit(model, loss_of, lambda epoch: columns, torch.arange(0, ROWS, 2), columns, seed=seed, epochs=epochs)
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    return run


def test_a_fit_is_the_same_bit_for_bit_on_any_number_of_cores(fitter):
    found = []
    for cores in (1, 3):
        with torch_threads(cores):
            found.append(fitter.side_by_side([job(fitter, seed) for seed in range(3)]))
            assert torch.get_num_threads() == cores
    for one, three in zip(*found, strict=True):
        assert torch.equal(one, three)
    assert not torch.equal(found[0][0], job(fitter, 0, epochs=1)()), "it learnt"


def test_where_one_fails_the_others_stop(fitter):
    done = []
    fitter.progressed = done.append

    def failing():
        while not done:
            pass
        raise RuntimeError("no more memory")

    with torch_threads(2), pytest.raises(RuntimeError, match="no more memory"):
        fitter.side_by_side([job(fitter, 0, epochs=5000), failing])
    assert len(done) < 5000
