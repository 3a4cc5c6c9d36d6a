"""Several processes (`torchrun`, `accelerate launch`): what one of them does, and what all must agree on."""

from collections.abc import Callable
from typing import TypeVar

from geograph_types import cli

T = TypeVar("T")


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
