"""A model in a folder, and label.py in this process."""

import signal
import sys

import pytest
import torch


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose probabilities spread, in a folder."""
    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    torch.manual_seed(3)
    model = GeographModel(GeographConfig(thresholds=[0.3, 0.5, 0.7, 0.4, 0.6, 0.5, 0.2])).eval()
    with torch.no_grad():
        model.fc[3].weight *= 6
        model.fc[3].bias -= 2
    folder = tmp_path_factory.mktemp("label") / "model"
    save_model_repository(model, folder)
    return model, folder


def command(service, folder, output, *more) -> list[str]:
    return ["label.py", *map(str, ("--model", folder, "--url", service.url, "--output", output, *more))]


@pytest.fixture
def run_label(monkeypatch, capsys):
    """label.py in this process, as a function that gives the exit status and what it said on stderr."""
    import label
    from geograph_types.cli import CommandError, said_of
    from geograph_types.labelling import journal

    monkeypatch.setattr(journal, "SETTLE", 1.0)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]

    def run_it(service, folder, output, *more) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", command(service, folder, output, *more))
        try:
            label.main()
        except (CommandError, OSError) as error:
            return 1, f"{capsys.readouterr().err}{said_of(error)}"
        return 0, capsys.readouterr().err

    yield run_it
    for number, handler in before:
        signal.signal(number, handler)
