"""A photo or a ready embedding, with what is known of its place → the types to submit."""

import base64
import binascii
import os
from collections.abc import Iterator, Sized
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save

try:
    from .decision_geograph import decide, failed

    # Nothing here uses them: transformers 5.4 copies what an entry file names, and no further.
    from .degrees_geograph import point_of  # noqa: F401
    from .encoder_geograph import GeographEncoder
    from .files_geograph import what_is  # noqa: F401
    from .grid_geograph import bucket_for
    from .names_geograph import TASK  # noqa: F401
    from .photos_geograph import Photo  # noqa: F401
    from .places_geograph import as_point
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from decision_geograph import decide, failed
    from encoder_geograph import GeographEncoder
    from grid_geograph import bucket_for
    from places_geograph import as_point

# Where the input has a length and `batch_size` is not given; and batches answered together, so that the encoder can
# decode the next while it encodes one.
DEFAULT_BATCH_SIZE, BATCHES_TOGETHER = 16, 8

# Keys of an item that say where its photo is, besides "embedding" and "embeddings".
PHOTO_KEYS = ("photo", "image", "path")


class GeographPipeline(Pipeline):
    """`pipeline("geograph-types", model=…, trust_remote_code=True)(photo, distance=16)` → a prediction.

    A photo is a path, an address, bytes, a PIL image or an array [H, W, 3] of uint8; in its stead a ready embedding:
    `{"embedding": vector}`, an array of 512 floats, or a source row with base64 `embeddings`. A dict's own `distance`,
    `subject` and `viewpoint` go before those of the call. Of lists, generators and datasets, an item that cannot be
    done gets its `error` and the rest go on; a single one raises a ValueError.

    Args:
        vision_model: the CLIP tower in the place of `config.vision_model`: a folder, or a Hub id. It is loaded at the
            first photo, not before.
        site_thumbnail: make the site's own thumbnail of each photo first, as the official vectors were made.

    Call arguments:
        distance: metres from viewpoint to subject, or "Unknown"; taken from the two points where not given.
        subject, viewpoint: grid references such as "TQ 3003 8048".
        threshold: one number for all classes, or one a class, in the place of `config.thresholds`.
    """

    _load_tokenizer = _load_image_processor = _load_feature_extractor = _load_processor = False
    _load_video_processor = False

    def __init__(
        self, model, *args: Any, vision_model: str | None = None, site_thumbnail: bool = False, **kwargs: Any
    ):
        if getattr(model.config, "model_type", None) != "geograph":
            raise ValueError(
                f"expected a model of type 'geograph', got {getattr(model.config, 'model_type', None)!r}; "
                "GeographModel, or AutoModel with trust_remote_code=True, is one"
            )
        dtype = kwargs.get("dtype")
        self._vision_dtype = "auto" if dtype is None else dtype
        self._vision_model = vision_model
        self._site_thumbnail = site_thumbnail
        self._encoder: GeographEncoder | None = None
        super().__init__(model, *args, **kwargs)
        self.model.eval()

    @property
    def encoder(self) -> GeographEncoder:
        """The vision tower, loaded now where it was not yet."""
        if self._encoder is None:
            self._encoder = GeographEncoder.for_config(
                self.model.config,
                self._vision_model,
                device=self.device,
                dtype=self._vision_dtype,
                site_thumbnail=self._site_thumbnail,
            )
        return self._encoder

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves the model and what the folder needs to be a pipeline again: transformers leaves this file out."""
        super().save_pretrained(save_directory, **kwargs)
        custom_object_save(self, save_directory)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A prediction; a list of them for a list; an iterator of them for a generator or a dataset."""
        if isinstance(inputs, list | tuple):
            if inputs and isinstance(inputs[0], Real):
                return super().__call__({"embedding": inputs}, *args, **kwargs)  # one vector, not many scalars
            if not inputs:
                return []
            return list(self._many(list(inputs), *args, **kwargs))
        if isinstance(inputs, Iterator) or _is_dataset(inputs):
            return self._many(inputs, *args, **kwargs)
        return super().__call__(inputs, *args, **kwargs)

    def _many(self, inputs: Any, *args: Any, batch_size: int | None = None, **kwargs: Any) -> Iterator[dict[str, Any]]:
        batch_size = batch_size or self._batch_size or (DEFAULT_BATCH_SIZE if isinstance(inputs, Sized) else 1)
        kwargs.pop("num_workers", None)
        steps = self._sanitize_parameters(**kwargs)
        own = (self._preprocess_params, self._forward_params, self._postprocess_params)
        return self.get_iterator(inputs, 0, batch_size, *({**a, **b} for a, b in zip(own, steps, strict=True)))

    def _sanitize_parameters(self, distance=None, subject=None, viewpoint=None, threshold=None):
        place = {"distance": distance, "subject": subject, "viewpoint": viewpoint}
        given = {name: value for name, value in place.items() if value is not None}
        return given, {}, ({} if threshold is None else {"threshold": threshold})

    def get_iterator(
        self, inputs, num_workers: int, batch_size: int, preprocess_params, forward_params, postprocess_params
    ) -> Iterator[dict[str, Any]]:
        """Answers in order; photos go through the encoder together, a few batches at a time, so that it can decode
        the next while it encodes."""
        items = iter(inputs) if hasattr(inputs, "__iter__") else (inputs[i] for i in range(len(inputs)))
        while chunk := list(islice(items, batch_size if batch_size == 1 else BATCHES_TOGETHER * batch_size)):
            questions: list[dict[str, Any]] = [self._read_safely(item, **preprocess_params) for item in chunk]
            waiting = [question for question in questions if "photo" in question]
            if waiting:
                photos = [question.pop("photo") for question in waiting]
                for question, vector in zip(waiting, self.encoder.encode(photos, batch_size=batch_size), strict=True):
                    question["error" if isinstance(vector, Exception) else "embedding"] = vector
            good = [question for question in questions if "error" not in question]
            answers: Iterator[dict[str, Any]] = iter(())
            if good:
                together = {
                    "embedding": torch.from_numpy(np.stack([question["embedding"] for question in good])),
                    "distance": torch.tensor([question["distance"] for question in good]),
                    "about": [question["about"] for question in good],
                }
                answers = iter(self._answers(self.forward(together, **forward_params), **postprocess_params))
            for question in questions:
                yield (
                    {**question["about"]["which"], **failed(question["error"])}
                    if "error" in question
                    else next(answers)
                )

    def preprocess(self, inputs: Any, distance=None, subject=None, viewpoint=None) -> dict[str, Any]:
        """One input → `embedding` [1, 512], `distance` [1] (its bucket), `about` (its places, which it is)."""
        question = self._read(inputs, distance, subject, viewpoint)
        if "photo" in question:
            question["embedding"] = self.encoder.encode_one(question.pop("photo"))
        return {
            "embedding": torch.from_numpy(question["embedding"])[None],
            "distance": torch.tensor([question["distance"]]),
            "about": [question["about"]],
        }

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        logits = self.model(embedding=model_inputs["embedding"], distance=model_inputs["distance"]).logits
        return {"probabilities": logits.float().sigmoid(), "about": model_inputs["about"]}

    def postprocess(self, model_outputs: dict[str, Any], threshold=None) -> dict[str, Any]:
        """Probabilities [1, 7] → the prediction."""
        return self._answers(model_outputs, threshold)[0]

    def _answers(self, outputs: dict[str, Any], threshold=None) -> list[dict[str, Any]]:
        thresholds, classes = self._thresholds(threshold), self.model.config.classes
        return [
            {**about["which"], **decide(row, thresholds, classes, about["subject"], about["viewpoint"])}
            for row, about in zip(outputs["probabilities"].numpy(), outputs["about"], strict=True)
        ]

    def _thresholds(self, threshold: float | list[float] | None) -> list[float]:
        if threshold is None:
            return self.model.config.thresholds
        count = len(self.model.config.classes)
        numbers = [threshold] * count if isinstance(threshold, Real) else list(threshold)
        if len(numbers) != count or not all(isinstance(t, Real) and 0 <= t <= 1 for t in numbers):
            raise ValueError(f"threshold must be a number from 0 to 1, or {count} of them, got {threshold!r}")
        return numbers

    def _read_safely(self, item: Any, **place: Any) -> dict[str, Any]:
        try:
            return self._read(item, **place)
        except ValueError as error:
            return {"about": {"which": _which(item)}, "error": error}

    def _read(self, item: Any, distance=None, subject=None, viewpoint=None) -> dict[str, Any]:
        """One input → its `photo` or `embedding` [512], its `distance` (a bucket), and `about`."""
        row = item if isinstance(item, dict) else {}
        # In a source row null means zero, as "" does; elsewhere None means not given.
        if "embeddings" in row and row.get("distance", 0) is None:
            row = {**row, "distance": ""}
        here = as_point(row.get("subject", subject))
        there = as_point(row.get("viewpoint", viewpoint))
        given = row.get("distance")
        question = {
            "distance": bucket_for(distance if given is None else given, here, there),
            "about": {"subject": here, "viewpoint": there, "which": _which(item)},
        }
        dim = self.model.config.embedding_dim
        if "embedding" in row:
            question["embedding"] = _vector(row["embedding"], dim)
        elif "embeddings" in row:
            question["embedding"] = _vector(_from_base64(row["embeddings"]), dim)
        elif not isinstance(item, dict):
            if item is None or isinstance(item, Real):
                raise ValueError(f"expected a photo or an embedding, got {item!r}")
            if isinstance(item, list | tuple) or _is_float_array(item):
                question["embedding"] = _vector(item, dim)
            else:
                question["photo"] = item
        else:
            key = next((key for key in PHOTO_KEYS if row.get(key) is not None), None)
            if key is None:
                raise ValueError(f"expected one of embedding, embeddings, {', '.join(PHOTO_KEYS)}, got {sorted(row)}")
            question["photo"] = row[key]
        return question


def _which(item: Any) -> dict[str, Any]:
    """`gridimage_id`, else `path`, where the item says which photo it is."""
    if isinstance(item, dict):
        if item.get("gridimage_id") is not None:
            return {"gridimage_id": item["gridimage_id"]}
        item = next((item[key] for key in PHOTO_KEYS if item.get(key) is not None), None)
    return {"path": os.fspath(item)} if isinstance(item, str | os.PathLike) else {}


def _is_dataset(inputs: Any) -> bool:
    """Datasets of torch and of `datasets`, and transformers' own KeyDataset: rows by number, and no array."""
    rows = isinstance(inputs, torch.utils.data.Dataset) or hasattr(inputs, "features")
    return rows and (hasattr(inputs, "__getitem__") or hasattr(inputs, "__iter__")) and not isinstance(inputs, dict)


def _is_float_array(item: Any) -> bool:
    dtype = str(getattr(item, "dtype", ""))
    return ("float" in dtype) and getattr(item, "ndim", None) == 1


def _from_base64(text: Any) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError("embeddings must be the base64 of little-endian float32, as in a source row") from error


def _vector(value: Any, dim: int) -> np.ndarray:
    """An embedding as float32 [dim], checked."""
    if isinstance(value, torch.Tensor):
        value = value.detach().float().cpu()
    try:
        vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"embedding must be {dim} numbers, got {type(value).__name__}") from None
    if vector.shape not in ((dim,), (1, dim)):
        raise ValueError(f"embedding must be float [{dim}], got shape {list(vector.shape)}")
    if not np.isfinite(vector).all():
        raise ValueError("embedding holds NaN or infinity")
    return np.array(vector.reshape(dim))
