"""label.py with --submit: however often it is killed, the service has each photo's labels once in the end."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.kills.frame import Scenario, script
from tests.support.labelling_service import LabellingService, rows_of

PHOTOS, A_LIST = 400, 40


@contextlib.contextmanager
def service() -> Iterator[LabellingService]:
    """It hands a photo out until it has its labels, and so it never waits for a killed command's lease to end."""
    with LabellingService(rows_of(PHOTOS), leases=False, sleep=0) as found:
        found.server.handle_error = lambda *_: None  # whoever is killed goes away in the middle of a request
        yield found


def lay_out(work: Path, _) -> None:
    import torch

    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    torch.manual_seed(0)
    model = GeographModel(GeographConfig()).eval()
    with torch.no_grad():  # so that a photo has one type or two
        model.fc[3].weight *= 6
        model.fc[3].bias -= 2
    save_model_repository(model, work / "model")


def begin(work: Path, found: LabellingService) -> None:
    found.forget()


def run(work: Path, found: LabellingService) -> None:
    from geograph_types.labelling import journal

    journal.SETTLE = 0.5  # seconds until a list whose answer was lost and that is handed out again has not arrived
    script(
        "label.py", "--model", "model", "--url", found.url, "--output", "labels.jsonl", "--submit",
        "--limit", str(A_LIST), "--empty_answers", "1", "--worker", "0",
    )  # fmt: skip


def none_twice(work: Path, found: LabellingService) -> None:
    assert max(found.times().values(), default=0) <= 1, "a photo's labels were posted twice"


def result(work: Path, found: LabellingService) -> bytes:
    """Scores to three digits: a list that is cut otherwise is added up otherwise."""
    times = found.times()
    return "\n".join(f"{i} {label} {score:.3f}, {times[i]} times" for i, label, score in found.labels()).encode()


SCENARIOS = [
    Scenario(
        "label",
        run,
        result,
        service=service,
        prepare=lay_out,
        begin=begin,
        whole=none_twice,
        leftovers=("tmp/*",),
        preload=("numpy", "orjson", "pybase64", "urllib3", "torch", "transformers.modeling_utils"),
    )
]
