"""The types of photos, or of rows with ready embeddings, in bulk.

python predict.py --model geograph-type-classifier --input photos/ --output answers.csv

The input is a folder of photos; a CSV, Parquet or JSONL of `path` and any of distance, subject, viewpoint, latitude,
longitude; or rows, JSONL (plain or .gz) or Parquet. The output ends in .parquet, .jsonl or .csv; its rows come in the
order of the input. What cannot be done gets its `error`, the rest go on. Stopped, and started again with the same
command, it goes on where it was: what is done so far lies in OUTPUT.partial/ until all is.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geograph_types.cli import naming_flag, parse_flags, progress, run, say

OUTPUT_SUFFIXES = (".parquet", ".jsonl", ".csv")

# Rows with ready embeddings a forward pass, and photos (the encoder's own default), which are answered and kept some
# batches at a time.
DEFAULT_ROWS, DEFAULT_PHOTOS, PHOTO_BATCHES = 4096, 16, 32


@dataclass
class PredictArguments:
    model: str = field(metadata={"help": "model folder, or Hub id"})
    input: str = field(metadata={"help": "rows (.jsonl, .gz, .parquet), a folder of photos, or a table of them"})
    output: str = field(metadata={"help": "file to write: .parquet, .jsonl or .csv"})
    revision: str | None = field(default=None, metadata={"help": "branch, tag or commit of --model on the Hub"})
    vision_model: str | None = field(
        default=None, metadata={"help": "CLIP tower for photos, folder or Hub id; default: the one of the model"}
    )
    write_embeddings: bool = field(default=False, metadata={"help": "add the vectors to the answers; not in a CSV"})
    batch_size: int | None = field(
        default=None, metadata={"help": f"photos ({DEFAULT_PHOTOS}) or rows ({DEFAULT_ROWS}) a forward pass"}
    )
    threshold: float | None = field(
        default=None, metadata={"help": "one probability for all classes; default: the model's own, one a class"}
    )
    device: str | None = field(default=None, metadata={"help": "such as cpu or cuda:0; default: the best there is"})
    dtype: str = field(default="auto", metadata={"help": "precision of the vision tower: auto, float32, bfloat16 …"})
    site_thumbnail: bool = field(
        default=False, metadata={"help": "encode the site's own kind of thumbnail, as the official vectors were"}
    )

    def __post_init__(self):
        suffix = Path(self.output).suffix.lower()
        if suffix not in OUTPUT_SUFFIXES:
            raise ValueError(f"--output must end in {', '.join(OUTPUT_SUFFIXES)}, got {self.output!r}")
        if self.write_embeddings and suffix == ".csv":
            raise ValueError(
                "--write_embeddings: a CSV cannot hold the vectors; let --output end in .parquet or .jsonl"
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"--batch_size must be at least 1, got {self.batch_size}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold must lie between 0 and 1, got {self.threshold}")


def main() -> None:
    (args,) = parse_flags(PredictArguments, description=__doc__)
    from geograph_types.prediction.questions import open_input

    asked = open_input(args.input)
    model, identity = load_model(args)
    rows, errors = predict(args, asked, model, identity)
    failed = f"; {errors:,} of them could not be done, the column `error` says why" if errors else ""
    say(f"{args.output}: {rows:,} {asked.unit}s{failed}")


def predict(args: PredictArguments, asked: Any, model: Any, identity: dict[str, Any]) -> tuple[int, int]:
    """Reads, answers and writes, each in a thread of its own; gives the counts of rows and of errors."""
    from geograph_types.prediction.answers import AnswerFile
    from geograph_types.prefetch import ahead

    # Rows of a Parquet file are answered where Arrow put them, and nothing here writes there.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    of_photos = asked.kind == "photos"
    size = args.batch_size or (DEFAULT_PHOTOS if of_photos else DEFAULT_ROWS)
    block = size * PHOTO_BATCHES if of_photos else size
    identity = identity | asked.identity() | {"batch_size": size}
    file = AnswerFile(args.output, asked.key, model.config.classes, args.write_embeddings, identity)
    encoder = _Encoder(args, model, size)
    with progress(total=asked.total, unit=asked.unit) as bar:
        bar.update(file.rows)
        questions = ahead(asked.blocks(block, file.done))
        answered = (answer_all(q, model, encoder, args, size) for q in questions)
        for done, answers in ahead(enumerate(answered, file.done + 1)):
            file.write(answers, done)
            bar.update(len(answers))
            if file.errors:
                bar.set_postfix_str(f"{file.errors:,} not done")
    file.finish()
    return file.rows, file.errors


def load_model(args: PredictArguments) -> tuple[Any, dict[str, Any]]:
    """The model, and what tells it and the flags from others."""
    import hashlib

    from geograph_types.hub import models

    model = models.load_model(args.model, args.revision, args.device)
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.float().cpu().numpy().tobytes())
    flags = ("vision_model", "write_embeddings", "threshold", "device", "dtype", "site_thumbnail")
    return model, {"model": digest.hexdigest()} | {name: getattr(args, name) for name in flags}


class _Encoder:
    """The vision tower, loaded at the first photo."""

    def __init__(self, args: PredictArguments, model: Any, batch_size: int):
        self.args, self.model, self.batch_size, self.encoder = args, model, batch_size, None

    def encode(self, photos: list[Any]) -> Iterator[Any]:
        if self.encoder is None:
            from encoder_geograph import GeographEncoder

            with naming_flag("--vision_model DIR"):
                self.encoder = GeographEncoder.for_config(
                    self.model.config,
                    self.args.vision_model,
                    device=self.model.device,
                    dtype=self.args.dtype,
                    site_thumbnail=self.args.site_thumbnail,
                )
        return self.encoder.encode(photos, batch_size=self.batch_size)


def answer_all(questions: Any, model: Any, encoder: _Encoder, args: PredictArguments, size: int) -> Any:
    """Questions → answers, photos encoded on the way."""
    import numpy as np
    import torch

    from geograph_types.prediction.answers import answer

    if questions.embedding is None:
        encode_photos(questions, encoder, model.config.embedding_dim)
    logits = []
    with torch.inference_mode():
        for start in range(0, len(questions), size):
            part = torch.from_numpy(questions.embedding[start : start + size]).to(model.device)
            distance = torch.from_numpy(questions.distance[start : start + size]).to(model.device)
            logits.append(model(embedding=part, distance=distance).logits.float())
        logits = torch.cat(logits) if logits else torch.zeros(0, len(model.config.classes))
        finite = torch.isfinite(logits).all(dim=1).cpu().numpy()
        probabilities = logits.sigmoid().cpu().numpy()
    if not finite.all():
        questions.errors = questions.errors or [None] * len(questions)
        for i in np.flatnonzero(~finite):
            questions.errors[i] = questions.errors[i] or "embeddings hold NaN or infinity"
    count = len(model.config.classes)
    thresholds = model.config.thresholds if args.threshold is None else [args.threshold] * count
    return answer(
        questions.key,
        probabilities,
        thresholds,
        model.config.classes,
        verdict=questions.verdict,
        notes=questions.notes,
        errors=questions.errors,
        embedding=questions.embedding if args.write_embeddings else None,
    )


def encode_photos(questions: Any, encoder: _Encoder, dim: int) -> None:
    """Fills `embedding` [n, dim] in, and `errors` where a photo cannot be read."""
    import numpy as np

    n = len(questions)
    questions.embedding = np.zeros((n, dim), np.float32)
    errors = list(questions.errors or [None] * n)
    good = [i for i in range(n) if errors[i] is None]
    vectors = encoder.encode([questions.photos[i] for i in good]) if good else ()
    for i, vector in zip(good, vectors, strict=True):
        if isinstance(vector, Exception):
            errors[i] = " ".join(str(vector).split())
        else:
            questions.embedding[i] = vector
    questions.errors = errors if any(errors) else None


if __name__ == "__main__":
    run(main)
