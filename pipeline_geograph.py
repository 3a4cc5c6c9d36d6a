"""A photo or a ready embedding, with what is known of its place → the types to submit."""

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save

try:
    from .encoder_geograph import GeographEncoder
    from .grid_geograph import GridPoint, bucket_of, distance_between, is_cross_grid, parse_grid_ref, square_of
except ImportError:  # in a clone: the folder is on the path, no package
    from encoder_geograph import GeographEncoder
    from grid_geograph import GridPoint, bucket_of, distance_between, is_cross_grid, parse_grid_ref, square_of

# Where the input has a length and `batch_size` is not given; and batches answered together, so that the encoder can
# decode the next while it encodes one.
DEFAULT_BATCH_SIZE, BATCHES_TOGETHER = 16, 8

# What the coordinates say, one int8 a row: see `verdict_of`.
NOT_SAID, SAME_SQUARE, OTHER_SQUARE = -1, 0, 1

# Keys of an item that say where its photo is, besides "embedding" and "embeddings".
PHOTO_KEYS = ("photo", "image", "path")


def choose(
    probabilities: np.ndarray, thresholds: list[float], classes: list[str], verdict: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rule behind `decide`, for many rows at once.

    Args:
        probabilities: float [N, 7]. verdict: int8 [N], `NOT_SAID`, `SAME_SQUARE` or `OTHER_SQUARE`; all not said if
            absent.

    Returns:
        scores: float [N, 7], the probabilities, but 1 for Cross Far where coordinates show Cross Grid.
        chosen: bool [N, 7], the classes to give. doubted: bool [N], where Cross Far would have been given, if
            coordinates did not put both points in one square.
    """
    thresholds = np.asarray(thresholds, dtype=np.float64)
    scores, doubted, reached = probabilities, np.zeros(len(probabilities), dtype=bool), None
    if verdict is None or "Cross Far" not in classes or (verdict == NOT_SAID).all():
        reached = scores >= thresholds
        best = scores
    else:
        far = classes.index("Cross Far")
        scores = probabilities.copy()
        scores[verdict == OTHER_SQUARE, far] = 1
        best = scores.copy()
        best[verdict == SAME_SQUARE, far] = -1
        reached = best >= thresholds
        far_best_of_none = ~(scores >= thresholds).any(axis=1) & (scores.argmax(axis=1) == far)
        doubted = (verdict == SAME_SQUARE) & ((scores[:, far] >= thresholds[far]) | far_best_of_none)
    none = ~reached.any(axis=1)
    if none.any():
        reached[none, best[none].argmax(axis=1)] = True
    return scores, reached, doubted


def decide(
    probabilities: Iterable[float],
    thresholds: list[float],
    classes: list[str],
    subject: "GridPoint | str | None" = None,
    viewpoint: "GridPoint | str | None" = None,
) -> dict[str, Any]:
    """Seven probabilities, and what coordinates say → one prediction.

    A class is given where its probability reaches its threshold; where none does, the best one is. Cross Far is given
    as Cross Grid. `types` and `scores` are in descending order of score.

    | subject and viewpoint stand | Cross Far | types | cross_grid | note |
    | --- | --- | --- | --- | --- |
    | in different squares | any | Cross Grid, score 1, and what else reached its threshold | "geometry" | – |
    | in one square | reached its threshold | what else reached it, else the next best; never Cross Grid | – | doubt |
    | in one square | best where none reached it | the next best | – | doubt |
    | in one square | neither | as without coordinates | – | – |
    | not known | reached its threshold | Cross Grid, and what else reached it | "model" | – |
    | not known | best where none reached it | Cross Grid alone | "model" | – |
    | not known | neither | what reached its threshold, else the best | – | – |

    So that `scores` has one shape everywhere, the score 1 of a Cross Grid by geometry stands under Cross Far, the
    class that Cross Grid is the name of; in one square Cross Far keeps the model's probability. A doubt is given as a
    note, since a coordinate may be wrong: "looks like a long view, but both points are in TQ3080".

    Args:
        probabilities: [7], in the order of `classes`. subject, viewpoint: grid references or points, None: not known.

    Returns:
        `types`, `scores` (class → probability), `cross_grid`, `note`, `error` (None), as the prediction's fields.

    Raises:
        ValueError: a grid reference that is none.
    """
    subject, viewpoint = as_point(subject), as_point(viewpoint)
    verdict = np.array([verdict_of(subject, viewpoint)], dtype=np.int8)
    row = np.asarray(list(probabilities), dtype=np.float64)[None]
    scores, chosen, doubted = choose(row, thresholds, classes, verdict)
    order = np.argsort(-scores[0], kind="stable")
    given = [classes[i] for i in order if chosen[0, i]]
    source = ("geometry" if verdict[0] == OTHER_SQUARE else "model") if "Cross Far" in given else None
    return {
        "types": [type_of(name) for name in given],
        "scores": {classes[i]: float(scores[0, i]) for i in order},
        "cross_grid": source,
        "note": doubt(viewpoint) if doubted[0] else None,
        "error": None,
    }


def failed(error: object) -> dict[str, Any]:
    """The prediction for what could not be done, and why."""
    return {"types": [], "scores": None, "cross_grid": None, "note": None, "error": " ".join(str(error).split())}


def type_of(name: str) -> str:
    """A class → the tag that people know it by (the model's own Cross Far is submitted as Cross Grid)."""
    return "Cross Grid" if name == "Cross Far" else name


def verdict_of(subject: "GridPoint | None", viewpoint: "GridPoint | None") -> int:
    """What two points say about Cross Grid: `OTHER_SQUARE`, `SAME_SQUARE` or `NOT_SAID`."""
    said = is_cross_grid(subject, viewpoint)
    return NOT_SAID if said is None else OTHER_SQUARE if said else SAME_SQUARE


def doubt(point: "GridPoint") -> str:
    """The note where the picture says Cross Far, and both points stand in the square of `point`."""
    return f"looks like a long view, but both points are in {square_of(point)}"


def as_point(place: "GridPoint | str | None") -> "GridPoint | None":
    """A grid reference → its point; blank or None → None; a point as it is.

    Raises:
        ValueError: a grid reference that is none.
    """
    if not isinstance(place, str):
        return place
    return parse_grid_ref(place) if place.strip() else None


def bucket_for(distance: Any, subject: "GridPoint | None", viewpoint: "GridPoint | None") -> int:
    """The distance's bucket: as given, else between the two points, else Unknown."""
    return bucket_of(distance_between(subject, viewpoint) if distance is None else distance)


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
            config = self.model.config
            own = self._vision_model is None
            self._encoder = GeographEncoder.from_pretrained(
                config.vision_model if own else self._vision_model,
                revision=config.vision_model_revision if own else None,
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
