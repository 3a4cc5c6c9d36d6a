"""publish.py: a page is the older version or the newer one, never half of either."""

from contextlib import AbstractContextManager
from pathlib import Path

from tests.kills.frame import Scenario, script

REPO = "user/geograph-types"


def service() -> AbstractContextManager:
    from tests.support.hub_server import HubServer

    return HubServer()


def environment(hub) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_test",
    }  # fmt: skip


def lay_out(work: Path, _) -> None:
    from tests.support.publishing import write_dataset

    write_dataset(work / "geograph-types", rows=200)


def run(work: Path, hub) -> None:
    script("publish.py", "dataset", "--path", "geograph-types", "--repo_id", REPO)


def begin_anew(work: Path, hub) -> None:
    hub.repos.clear()
    hub.objects.clear()


def whole_or_absent(work: Path, hub) -> None:
    repo = hub.repos.get(("datasets", REPO))
    files = set(repo.files) - {".gitattributes"} if repo else set()
    assert not files or len(files) == 4, f"half a page: {sorted(files)}"


def result(work: Path, hub) -> bytes:
    files = hub.repos["datasets", REPO].files
    return b"".join(name.encode() + files[name].content for name in sorted(files))


SCENARIOS = [
    Scenario(
        "publish",
        run,
        result,
        prepare=lay_out,
        whole=whole_or_absent,
        preload=("numpy", "pyarrow.parquet", "huggingface_hub.repocard", "huggingface_hub.hf_api"),
        service=service,
        environment=environment,
        begin=begin_anew,
    )
]
