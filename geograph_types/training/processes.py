"""Several processes (`torchrun`, `accelerate launch`): what one of them does, and what all must agree on."""

import os
from collections.abc import Callable
from typing import TypeVar

from geograph_types import cli

T = TypeVar("T")

# How a process learns of the others: from torchrun, Open MPI, MPICH or Intel MPI, MVAPICH.
SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def check_launcher() -> None:
    """Refuses the one process that `accelerate launch --cpu --num_processes 2` starts where no MPI starts the others.

    Raises:
        CommandError: it would train with a part of the batch that was asked for, without a word.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ  # set for several only
    if launched and not any(name in os.environ for name in SIZES):
        raise cli.CommandError(
            "accelerate launch was told of several processes and started one: on CPUs it needs MPI and its "
            "--mpirun_hostfile; `torchrun --nproc_per_node 2 train.py …` starts them without"
        )


def is_first() -> bool:
    """Whether this process writes and speaks for all."""
    from accelerate import PartialState

    return PartialState().is_main_process


def by_the_first(function: Callable[[], T]) -> T:
    """Calls `function` in the first process; every process gets what it returned, and none goes on before."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    state = PartialState()
    value = [function() if state.is_main_process else None]
    return broadcast_object_list(value)[0] if state.num_processes > 1 else value[0]


def say(message: str) -> None:
    """A line for the person at the terminal, once."""
    if is_first():
        cli.say(message)
