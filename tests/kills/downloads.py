"""Downloads: what has arrived is kept, what is kept is whole."""

import random
from contextlib import AbstractContextManager
from pathlib import Path

from tests.kills.frame import Scenario, served

SIZE = 24 << 20


def service() -> AbstractContextManager[str]:
    return served(random.Random(0).randbytes(SIZE), "rows.jsonl")


def run(work: Path, url: str) -> None:
    import os

    from geograph_types.rows.addresses import download

    os.environ["GEOGRAPH_CACHE"] = str(work / "cache")
    (work / "where").write_text(str(download(url)))


def result(work: Path, url: str) -> bytes:
    return Path((work / "where").read_text()).read_bytes()


SCENARIOS = [
    Scenario(
        "download", run, result, service=service, preload=("httpx", "geograph_types.rows.addresses"), kills_in_a_row=5
    )
]
