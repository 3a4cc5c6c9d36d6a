"""The bare training loop, for the models that a run needs besides its own.

Their optimiser, rate, batch, epochs and patience are the run's; schedules, accumulation and bf16 are its own model's
alone. Trainer would save each epoch's model on the disk and read the best one back; here it stays in memory.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from transformers import Trainer

from geograph_types.cli import progress

# The columns of all rows: tensors of the same length, one after the other.
Columns = tuple[torch.Tensor, ...]
VALIDATION_BATCH = 8192


def fit(
    model: nn.Module,
    loss_of: Callable[..., torch.Tensor],
    train: Callable[[int], Columns],
    validation: Columns | None,
    *,
    args,
    patience: int,
    seed: int,
    epochs: int | None = None,
    description: str = "",
) -> nn.Module:
    """The model as it was after its best epoch on validation (the last without), on the CPU, to be asked.

    Args:
        loss_of: the columns of a batch → the mean loss of its rows. train: the columns that the epoch shows.
        args: `GeographTrainingArguments`. patience: epochs without a better loss before stopping; 0: never.
        epochs: the most there are to be; the run's where None.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = args.train_batch_size * args.world_size  # the same in any number of processes
    best, waited, kept = float("inf"), 0, None
    with torch.random.fork_rng(), progress(total=epochs or _epochs(args, len(train(0)[0]), batch), unit="epoch",
                                           description=description, shown=not args.disable_tqdm) as bar:  # fmt: skip
        torch.manual_seed(seed)
        model.to(args.device)
        kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
        optimizer = kind(model.parameters(), weight_decay=args.weight_decay, **options)
        for epoch in range(bar.total):
            model.train()
            columns = train(epoch)
            for index in torch.randperm(len(columns[0]), generator=generator).split(batch):
                optimizer.zero_grad()
                loss_of(*_rows(columns, index, args.device)).backward()
                optimizer.step()
            bar.update()
            if validation is None:
                continue
            loss = _validation_loss(model, loss_of, validation, args.device)
            waited += 1
            if loss < best:
                best, waited = loss, 0
                kept = {name: value.clone() for name, value in model.state_dict().items()}
            if patience and waited >= patience:
                break
    if kept is not None:
        model.load_state_dict(kept)
    return model.cpu().float().eval()


def _epochs(args, rows: int, batch: int) -> int:
    if args.max_steps > 0:
        return math.ceil(args.max_steps / math.ceil(rows / batch))
    return max(1, math.ceil(args.num_train_epochs))


def _rows(columns: Columns, index: torch.Tensor, device) -> list[torch.Tensor]:
    return [column.index_select(0, index).to(device) for column in columns]


def _validation_loss(model: nn.Module, loss_of: Callable[..., torch.Tensor], columns: Columns, device) -> float:
    """The mean over all rows."""
    model.eval()
    total, rows = 0.0, len(columns[0])
    with torch.inference_mode():
        for index in torch.arange(rows).split(VALIDATION_BATCH):
            total += float(loss_of(*_rows(columns, index, device))) * len(index)
    return total / rows
