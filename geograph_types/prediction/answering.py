"""Blocks of the input → answers: vectors, made of photos where they are not ready, through the model and the rule."""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geograph_types.cli import CommandError, naming_flag, progress
from geograph_types.inference import probabilities_of
from geograph_types.prediction.answers import AnswerFile
from geograph_types.prediction.formats import Answers, answer
from geograph_types.prediction.inputs import Input
from geograph_types.prediction.parts import InputBlock, Options
from geograph_types.prefetch import ahead

# Rows with ready vectors a forward pass, and photos (the encoder's own default), which are answered and kept some
# batches at a time.
DEFAULT_ROWS, DEFAULT_PHOTOS, PHOTO_BATCHES = 4096, 16, 32


@dataclass
class Predictor:
    """A model, the tower where there are photos, and what a run asks of them."""

    model: Any
    tower: Any = None  # a GeographEncoder
    threshold: float | None = None
    batch_size: int = DEFAULT_ROWS
    keep_embeddings: bool = False

    @property
    def thresholds(self) -> list[float]:
        config = self.model.config
        return config.thresholds if self.threshold is None else [self.threshold] * len(config.classes)

    def answers(self, block: InputBlock) -> Answers:
        """One block's answers, its photos encoded on the way."""
        if block.embedding is None:
            self._encode(block)
        probabilities = probabilities_of(self.model, block.embedding, block.bucket, self.batch_size)
        odd = ~np.isfinite(probabilities).all(axis=1)
        if odd.any():
            known = block.errors or [None] * len(block)
            block.errors = [
                e or ("embeddings hold NaN or infinity" if on else None) for e, on in zip(known, odd, strict=True)
            ]
        return answer(
            block.key,
            probabilities,
            self.thresholds,
            self.model.config.classes,
            verdict=block.verdict,
            doubts=block.doubts,
            remarks=block.remarks,
            errors=block.errors,
            embedding=block.embedding if self.keep_embeddings else None,
        )

    def _encode(self, block: InputBlock) -> None:
        """Fills `embedding` [n, dim] in, and `errors` and `remarks` where there is something to say of a photo."""
        n = len(block)
        block.embedding = np.zeros((n, self.model.config.embedding_dim), np.float32)
        errors, remarks = list(block.errors or [None] * n), list(block.remarks or [None] * n)
        good = [i for i in range(n) if errors[i] is None]
        found = self.tower.encode_with_notes([block.photos[i] for i in good], batch_size=self.batch_size)
        for i, (vector, note) in zip(good, found, strict=True):
            remarks[i] = "; ".join(text for text in (remarks[i], note) if text) or None
            if isinstance(vector, Exception):
                errors[i] = " ".join(str(vector).split())
            else:
                block.embedding[i] = vector
        block.errors = errors if any(errors) else None
        block.remarks = remarks if any(remarks) else None


def load_tower(model: Any, vision_model: str | None, dtype: str, site_thumbnail: bool, allow_urls: bool) -> Any:
    """The vision tower of a run on photos, before the first one is read."""
    from encoder_geograph import GeographEncoder

    with naming_flag("--vision_model DIR"):
        return GeographEncoder.for_config(
            model.config, vision_model, model.device, dtype, site_thumbnail=site_thumbnail, allow_urls=allow_urls
        )


def identity_of_model(model: Any) -> str:
    """A hash of all its numbers and its config."""
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def identity_of_tower(model: Any, vision_model: str | None) -> list[Any]:
    """A folder's files by size and time; of a Hub id the commit that lies here."""
    from names_geograph import tower_of

    name, revision = tower_of(model.config, vision_model)
    folder = Path(name)
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        states = [[str(f.relative_to(folder)), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
        return [str(folder.resolve()), states]
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return [name, revision, Path(found).parent.name if isinstance(found, str) else None]


def answer_input(asked: Input, predictor: Predictor, file: AnswerFile, options: Options) -> None:
    """Reads, answers and writes, each in a thread of its own."""
    # Rows of a Parquet file are answered where Arrow put them, and nothing here writes there.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    size = predictor.batch_size * (PHOTO_BATCHES if asked.of_photos else 1)
    with progress(total=asked.total, unit=asked.unit) as bar:
        bar.update(file.rows)
        for done, answers in ahead(_answered(ahead(asked.blocks(size, file.done, options)), predictor)):
            file.write(answers, done)
            bar.update(len(answers))
            if file.errors:
                bar.set_postfix_str(f"{file.errors:,} not done")


def _answered(blocks: Iterator[tuple[Any, InputBlock]], predictor: Predictor) -> Iterator[tuple[Any, Answers]]:
    for done, block in blocks:
        yield done, predictor.answers(block)


def put_in_place(file: AnswerFile, name: str, of_shard: bool = False) -> None:
    """The finished file under its name, unless nothing at all could be answered.

    Raises:
        CommandError: every single row or photo failed, not of a shard but of a whole input; no file is left then.
    """
    if file.rows and file.errors == file.rows and not of_shard:
        file.discard()
        raise CommandError(
            f"{name}: none of its {file.rows:,} could be answered, the first because: {file.first_error}"
        )
    file.finish()
