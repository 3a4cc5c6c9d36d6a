"""Work dealt to many processes or machines by Ray Data: what predict.py and prepare_dataset.py share of it.

A piece of work is a number. Workers are actors that load once what they need; a piece whose worker or machine died is
dealt again. The project's code travels to the machines of a cluster; local files must lie where all of them see them.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError
from geograph_types.files import ROOT, temporary_folder

# What travels to the machines of a cluster: the project as it is here.
CODE = ("*_geograph.py", "config.json", "requirements.txt", "model_card.md", "dataset_card.md")


class _Worker:
    """An actor: at work in the folder in which the command was started, so that names mean the same files."""

    def __init__(self, folder: str, make: Callable[[Any], Callable[[int], dict[str, Any]]], settings: Any):
        if Path(folder).is_dir():
            os.chdir(folder)
        self.work = make(settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.work(row["number"])


def deal(
    numbers: Sequence[int], make: Callable, settings: Any, ray_address: str | None = None, *, gpus: bool = True
) -> Iterator[dict[str, Any]]:
    """What the workers answer of each number, as it comes.

    Args:
        make: called once in each worker with `settings`, gives what is called with a number.
        gpus: whether a worker holds a GPU where there are GPUs; without, a CPU.

    Raises:
        CommandError: no Ray, no cluster at the address, or the first error of a worker, as one line.
    """
    with session(ray_address) as ray:
        cpus, found = (int(ray.cluster_resources().get(name, 0)) for name in ("CPU", "GPU"))
        on_gpu = gpus and found > 0
        # Reading needs a CPU that no actor holds, or Ray waits for ever.
        workers = max(1, min(found if on_gpu else cpus - 1, len(numbers)))
        try:
            # An actor that died is started again, and its number dealt anew: Ray Data's own default.
            items = ray.data.from_items([{"number": n} for n in numbers], override_num_blocks=len(numbers))
            done = items.map(
                _Worker,
                fn_constructor_args=(str(Path.cwd()), make, settings),
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=0 if on_gpu else 1,
                num_gpus=1 if on_gpu else 0,
            )
            yield from done.iter_rows()
        except ray.exceptions.RayError as error:
            raise CommandError(reason_of(error)) from None


def reason_of(error: Exception) -> str:
    """What went wrong in a worker, as one line."""
    cause = getattr(error, "cause", None) or error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__


@contextmanager
def session(ray_address: str | None) -> Iterator[Any]:
    """Ray, on the cluster at an address or on this machine alone; quiet.

    Raises:
        CommandError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise CommandError("--engine ray needs Ray: pip install 'ray[data]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own warnings say nothing to the person here
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    try:
        if ray_address:
            with temporary_folder("code") as folder:  # Ray has it when it has begun
                stage_code(folder)
                ray.init(address=ray_address, runtime_env={"working_dir": str(folder)}, **options)
        else:
            options |= {"num_cpus": (os.cpu_count() or 1) + 1, "include_dashboard": False}
            ray.init(runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"--ray_address {ray_address}" if ray_address else "Ray on this machine"
        token = "; it asks for a token: set RAY_AUTH_MODE=token" if "AuthToken" in str(error.__context__) else ""
        raise CommandError(f"{where}: {str(error).splitlines()[0]}{token}") from None
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        yield ray
    finally:
        ray.shutdown()


def stage_code(folder: Path) -> None:
    """Copies the project's code alone into a folder, for the machines of a cluster."""
    for pattern in CODE:
        for path in ROOT.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "geograph_types", folder / "geograph_types", ignore=ignored)
