"""The bare training loop, for the models that a run needs besides its own, several of them side by side.

Their optimiser, rate, batch, epochs and patience are the run's; schedules, accumulation and bf16 are its own model's
alone. Trainer would save each epoch's model on the disk and read the best one back; here it stays in memory.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

import torch
from torch import nn
from transformers import Trainer

from geograph_types.inference import torch_threads

T = TypeVar("T")
# The columns of all rows: tensors of the same length, one after the other.
Columns = tuple[torch.Tensor, ...]
# Rows at a time that validation looks at: what lies between the layers then fits a processor's cache.
VALIDATION_BATCH = 1024


class Cancelled(Exception):
    """Another fit failed, or the command was told to stop."""


@dataclass
class Fitter:
    """Fits models by one run's settings.

    Attributes:
        args: `GeographTrainingArguments`. patience: epochs without a better loss before stopping; 0: never.
        progressed: told how many epochs more are done, or not needed.
    """

    args: object
    patience: int
    progressed: Callable[[int], object] = lambda epochs: None
    _stop: Event = field(default_factory=Event)

    def side_by_side(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """What each job returns, in their order; jobs call `fit` and need nothing of each other.

        On a CPU each has one thread of torch, and as many run at once as torch has threads: matrices as small as
        these gain little by more, and so a fit is the same, bit for bit, on any number of cores. On another device
        one follows the other.
        """
        if self.args.device.type != "cpu":
            return [job() for job in jobs]
        workers = min(torch.get_num_threads(), len(jobs))
        with torch_threads(1), ThreadPoolExecutor(workers, thread_name_prefix="geograph-fit") as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                failed = [future for future in wait(futures, return_when=FIRST_EXCEPTION).done if future.exception()]
                return [future.result() for future in failed or futures]
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def epochs(self, rows: int) -> int:
        """The most epochs of a fit on so many rows."""
        if self.args.max_steps > 0:
            return math.ceil(self.args.max_steps / math.ceil(rows / self._batch))
        return max(1, math.ceil(self.args.num_train_epochs))

    @property
    def _batch(self) -> int:
        return self.args.train_batch_size * self.args.world_size  # the same in any number of processes

    def fit(
        self,
        model: nn.Module,
        loss_of: Callable[..., torch.Tensor],
        train: Callable[[int], Columns],
        rows: torch.Tensor,
        validation: Columns | None,
        *,
        seed: int,
        epochs: int | None = None,
    ) -> nn.Module:
        """The model as it was after its best epoch on validation (the last without), on the CPU, to be asked.

        Args:
            loss_of: the columns of a batch → the mean loss of its rows. train: the columns that the epoch shows.
            rows: which rows of these columns it learns from, int64 [N].
            epochs: the most there are to be; the run's where None.
        """
        device, generator = self.args.device, torch.Generator().manual_seed(seed)
        most = self.epochs(len(rows)) if epochs is None else epochs
        best, waited, kept = float("inf"), 0, None
        with _own_chance(model, device, seed):
            model.to(device)
            kind, options = Trainer.get_optimizer_cls_and_kwargs(self.args, model)
            optimizer = kind(model.parameters(), weight_decay=self.args.weight_decay, **options)
            for epoch in range(most):
                model.train()
                columns, order = train(epoch), torch.randperm(len(rows), generator=generator)
                for index in rows[order].split(self._batch):
                    if self._stop.is_set():
                        raise Cancelled
                    optimizer.zero_grad()
                    loss_of(*_rows(columns, index, device)).backward()
                    optimizer.step()
                self.progressed(1)
                if validation is None:
                    continue
                loss = _validation_loss(model, loss_of, validation, device)
                waited += 1
                if loss < best:
                    best, waited = loss, 0
                    kept = {name: value.clone() for name, value in model.state_dict().items()}
                if self.patience and waited >= self.patience:
                    self.progressed(most - epoch - 1)
                    break
        if kept is not None:
            model.load_state_dict(kept)
        return model.cpu().float().eval()


@contextmanager
def _own_chance(model: nn.Module, device, seed: int) -> Iterator[None]:
    """Dropout draws from a generator of the model's own on a CPU, where several models draw at the same time."""
    if device.type != "cpu":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
        return
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if hasattr(layer, "generator"):
            layer.generator = generator
    yield


def _rows(columns: Columns, index: torch.Tensor, device) -> list[torch.Tensor]:
    return [column.index_select(0, index).to(device) for column in columns]


def _validation_loss(model: nn.Module, loss_of: Callable[..., torch.Tensor], columns: Columns, device) -> float:
    """The mean over all rows."""
    model.eval()
    total, rows = 0.0, len(columns[0])
    with torch.inference_mode():
        for parts in zip(*(column.split(VALIDATION_BATCH) for column in columns), strict=True):
            total += float(loss_of(*(part.to(device) for part in parts))) * len(parts[0])
    return total / rows
