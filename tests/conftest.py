"""What all tests share: the repository's folder, the shared data where it exists, offline libraries."""

import os
import signal
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What tests start finds the project as a user in its folder does; those that must not know it take this out.
os.environ["PYTHONPATH"] = str(ROOT)

# A shell's job in the background ignores Ctrl-C, and so would all that the tests start and stop by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any library reads them: no test reaches the real Hub, nor a cache of an earlier run.
if os.environ.get("GEOGRAPH_TEST_HUB") != "1":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Removed when the tests end; every process that they start inherits it.
HF_HOME = tempfile.TemporaryDirectory(prefix="geograph-hf-")
os.environ["HF_HOME"] = HF_HOME.name
os.environ["HF_MODULES_CACHE"] = str(Path(HF_HOME.name) / "modules")
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Two processes that test, with as many threads as cores each, wait for each other; so do those that they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402

SHARED = Path(os.environ.get("GEOGRAPH_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of official weights and shared rows beside the repository; tests that need it skip without."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no shared data in {SHARED} (official weights and rows are not part of the project)")
    return SHARED


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from tests.support.shares import Shares

    return Shares(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items):
    from tests.support.shares import slowest_first

    slowest_first(items)


def pytest_sessionfinish():
    from tests.support import warm

    warm.stop()
