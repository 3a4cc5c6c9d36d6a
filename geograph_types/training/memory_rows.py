"""Rows as tensors, and the batches of an epoch: from the seed and the epoch alone, in one process or several."""

from collections.abc import Iterator

import numpy as np
import torch

from geograph_types.training.data import TrainingData
from geograph_types.training.distance_faults import faulty_distances
from geograph_types.training.distances import changed_distances, changes_distances
from grid_geograph import model_buckets


class MemoryRows(torch.utils.data.Dataset):
    """Rows as tensors, taken a whole batch at a time.

    Every epoch hides and scrambles distances anew, from the seed and the epoch alone, so that a run that was
    stopped and resumed sees what an uninterrupted one sees. `distance` holds the model's own buckets.

    Where the data holds `evidence`, `distance` is [N, 2] and `labels` [N, 2, C]: each row as it is given, and again
    with another distance, drawn anew each epoch, and what is to be answered then.
    """

    def __init__(self, data: TrainingData, training: bool = True, seed: int = 0):
        self.embedding = torch.from_numpy(data.rows.embedding)
        self.given_labels = self.labels = torch.from_numpy(data.targets)
        self.weight = torch.from_numpy(np.ascontiguousarray(data.weight, dtype=np.float32))
        self.given_distance = data.rows.distance
        self.buckets = data.config.num_distance_buckets
        self.options = data.options if training and changes_distances(data.options) else None
        self.cross_far = data.is_cross_far
        self.evidence = data.evidence if training else None
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of every epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        instead = None if self.evidence is None else faulty_distances(len(self), generator)
        given = self.given_distance
        if self.options is not None:
            given = changed_distances(given, self.cross_far, self.options, generator)
        self.distance = self._as_the_model_counts(given)
        if instead is not None:
            then = self.evidence.targets(self.given_labels.numpy(), instead, self.given_distance)
            self.labels = torch.stack([self.given_labels, torch.from_numpy(then)], dim=1)
            self.distance = torch.stack([self.distance, self._as_the_model_counts(instead)], dim=1)

    def _as_the_model_counts(self, bucket: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(model_buckets(bucket.astype(np.int32), self.buckets))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int] | torch.Tensor) -> dict[str, torch.Tensor]:
        index = torch.as_tensor(indices)
        columns = {
            "embedding": self.embedding,
            "distance": self.distance,
            "labels": self.labels,
            "weight": self.weight,
        }
        return {name: column.index_select(0, index) for name, column in columns.items()}

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: value[0] for name, value in self.__getitems__([index]).items()}


class RandomBatches(torch.utils.data.Sampler):
    """Each epoch's rows in a random order, as index tensors of a batch each; from the seed and the epoch alone.

    Of several processes each takes its share of every update's rows, so that an update is the same however many
    share it. A last update of fewer rows than processes leaves some of them an empty batch.
    """

    def __init__(self, dataset: MemoryRows, batch_size: int, seed: int, drop_last: bool = False):
        self.dataset, self.batch_size, self.seed, self.drop_last = dataset, batch_size, seed, drop_last
        self.process, self.processes, self.shuffled, self.epoch = 0, 1, True, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[torch.Tensor]:
        rows = len(self.dataset)
        order = torch.arange(rows)
        if self.shuffled:
            generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
            order = torch.randperm(rows, generator=generator)
        for together in order.split(self.batch_size * self.processes)[: len(self)]:
            yield together if self.processes == 1 else together.tensor_split(self.processes)[self.process]

    def __len__(self) -> int:
        size = self.batch_size * self.processes
        return len(self.dataset) // size if self.drop_last else -(-len(self.dataset) // size)


class EvenBatches(torch.utils.data.Sampler):
    """All rows in order, in batches of the same size but for one row, so that the mean of their losses is the loss."""

    def __init__(self, rows: int, batch_size: int):
        self.rows, self.count = rows, -(-rows // batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from torch.arange(self.rows).tensor_split(self.count)

    def __len__(self) -> int:
        return self.count


class EpochLoader(torch.utils.data.DataLoader):
    """A loader that Trainer can tell the epoch."""

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.batch_sampler, "set_epoch"):
            self.batch_sampler.set_epoch(epoch)


def as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The collator of batches that come whole."""
    return batch
