"""A photo or a ready embedding, with what is known of its place → the types to submit."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sized
from itertools import islice, repeat
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save

try:
    from .decision_geograph import NORMALISED, contradiction, decide, failed

    # Nothing here uses them: transformers 5.4 copies what an entry file names, and no further.
    from .degrees_geograph import point_of  # noqa: F401
    from .encoder_geograph import GeographEncoder
    from .files_geograph import what_is  # noqa: F401
    from .grid_geograph import model_buckets
    from .items_geograph import (
        PHOTO_KEYS,
        PLACE_KEYS,
        as_photo,
        as_row,
        bucket_of_item,
        check_keys,
        is_stream,
        metres_of_item,
        unwrapped,
        which,
    )
    from .names_geograph import TASK  # noqa: F401
    from .photos_geograph import Photo  # noqa: F401
    from .places_geograph import as_point
    from .row_geograph import EMBEDDING_NAMES, check_vector, look_normalised, norms_of, vector_of_row
    from .towers_geograph import OnnxTower  # noqa: F401
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from decision_geograph import NORMALISED, contradiction, decide, failed
    from encoder_geograph import GeographEncoder
    from grid_geograph import model_buckets
    from items_geograph import (
        PHOTO_KEYS,
        PLACE_KEYS,
        as_photo,
        as_row,
        bucket_of_item,
        check_keys,
        is_stream,
        metres_of_item,
        unwrapped,
        which,
    )
    from places_geograph import as_point
    from row_geograph import EMBEDDING_NAMES, check_vector, look_normalised, norms_of, vector_of_row

# Where the input has a length and `batch_size` is not given; and batches answered together, so that the encoder can
# decode the next while it encodes one.
DEFAULT_BATCH_SIZE, BATCHES_TOGETHER = 16, 8


class GeographPipeline(Pipeline):
    """`pipeline("geograph-types", model=…, trust_remote_code=True)(photo, distance=16)` → a prediction.

    What an input is:

    - **an embedding**: `{"embedding": vector}`, a source row (base64 `embeddings`), a list of numbers, or an array or
      tensor of floats whose last axis is as long as `config.embedding_dim`: [512] is one, [N, 512] are N of them, as
      CLIP towers return them, and gives a list of N predictions (N = 1 too). Never a grey photo of that width: give
      that as `{"photo": array}`, or as uint8.
    - **a photo**: a path, an address, bytes, an open file (binary) or BytesIO, a PIL image, an array [H, W] or
      [H, W, C], or a tensor, [C, H, W] too; of uint8, or of floats from 0 to 1; a tensor with one axis more is many.
    - **a dict**: one of both under `embedding`, `embeddings`, `photo`, `image` or `path`, with its own `distance` or
      `distance_bucket`, `subject`, `viewpoint`, which go before those of the call where they are not None.
    - **many**: a list, a batch of columns as `datasets` gives (`rows[:4]`), an iterator, a dataset. An item that
      cannot be done gets its `error` and the rest go on; a single one raises a ValueError.

    Args:
        vision_model: the CLIP tower in the place of `config.vision_model`: a folder, or a Hub id. It is loaded at the
            first photo, not before.
        site_thumbnail: make the site's own thumbnail of each photo first, as the official vectors were made.

    Call arguments, each a single value, or of a list of inputs one for each of them:
        distance: metres from viewpoint to subject, or "Unknown"; taken from the two points where None or blank. (In a
            row with an embedding "" is zero metres, as in the source.) Where both are given and contradict, the note
            of the answer says so.
        subject, viewpoint: places such as "TQ 3003 8048".

    And for all of them:
        threshold, or thresholds, which means the same: one number for all classes, or one a class, in the place of
            `config.thresholds`.
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

    def __getstate__(self) -> dict[str, Any]:
        """Without the tower, whose packed weights cannot be pickled: it is loaded again at the next photo."""
        return {**self.__dict__, "_encoder": None}

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A prediction; a list of them for a list, a batch of columns or [N, 512]; an iterator for an iterator."""
        inputs = unwrapped(inputs, self.model.config.embedding_dim)
        if isinstance(inputs, list):
            return list(self._many(inputs, *args, **kwargs))
        if is_stream(inputs):
            return self._many(inputs, *args, **kwargs)
        for name in PLACE_KEYS:
            if isinstance(kwargs.get(name), list | tuple):
                raise ValueError(f"{name} is a list, and the input is a single one; give a list of inputs, too")
        return super().__call__(inputs, *args, **kwargs)

    def _many(self, inputs: Any, *args: Any, batch_size: int | None = None, **kwargs: Any) -> Iterator[dict[str, Any]]:
        batch_size = batch_size or self._batch_size or (DEFAULT_BATCH_SIZE if isinstance(inputs, Sized) else 1)
        kwargs.pop("num_workers", None)
        several = {name: kwargs.pop(name) for name in PLACE_KEYS if isinstance(kwargs.get(name), list | tuple)}
        for name, values in several.items():
            if not isinstance(inputs, Sized) or len(values) != len(inputs):
                count = len(inputs) if isinstance(inputs, Sized) else "an unknown number of"
                raise ValueError(f"{name} is a list of {len(values)}, and there are {count} inputs; give one for each")
        steps = self._sanitize_parameters(**kwargs)
        own = (self._preprocess_params, self._forward_params, self._postprocess_params)
        before, forward, after = ({**a, **b} for a, b in zip(own, steps, strict=True))
        return self.get_iterator(inputs, 0, batch_size, {**before, **several}, forward, after)

    def _sanitize_parameters(
        self, distance=None, subject=None, viewpoint=None, threshold=None, thresholds=None, top_k=None
    ):
        if top_k is not None:
            raise ValueError(
                "there is no top_k: `types` are all that reach their threshold, `scores` hold every class"
            )
        if threshold is not None and thresholds is not None:
            raise ValueError("threshold and thresholds mean the same: give one of them")
        threshold = thresholds if threshold is None else threshold
        place = {"distance": distance, "subject": subject, "viewpoint": viewpoint}
        given = {name: value for name, value in place.items() if value is not None}
        return given, {}, ({} if threshold is None else {"threshold": threshold})

    def get_iterator(
        self, inputs, num_workers: int, batch_size: int, preprocess_params, forward_params, postprocess_params
    ) -> Iterator[dict[str, Any]]:
        """Answers in order; photos go through the encoder together, a few batches at a time, so that it can decode
        the next while it encodes."""
        items = iter(inputs) if hasattr(inputs, "__iter__") else (inputs[i] for i in range(len(inputs)))
        lists = {name: value for name, value in preprocess_params.items() if isinstance(value, list | tuple)}
        same = {name: value for name, value in preprocess_params.items() if name not in lists}
        places = (dict(zip(lists, v, strict=True)) for v in zip(*lists.values(), strict=True)) if lists else repeat({})
        items = zip(items, places, strict=False)
        while chunk := list(islice(items, batch_size if batch_size == 1 else BATCHES_TOGETHER * batch_size)):
            read = [self._read_safely(item, **same, **place) for item, place in chunk]
            waiting = [one for one in read if "photo" in one]
            if waiting:
                photos = [one.pop("photo") for one in waiting]
                found = self.encoder.encode_with_notes(photos, batch_size=batch_size)
                for one, (vector, note) in zip(waiting, found, strict=True):
                    one["error" if isinstance(vector, Exception) else "embedding"] = vector
                    one["about"]["note"] = note
            good = [one for one in read if "error" not in one]
            answers: Iterator[dict[str, Any]] = iter(())
            if good:
                together = {
                    "embedding": torch.from_numpy(np.stack([one["embedding"] for one in good])),
                    "distance": torch.tensor([one["distance"] for one in good]),
                    "about": [one["about"] for one in good],
                }
                answers = iter(self._answers(self.forward(together, **forward_params), **postprocess_params))
            for one in read:
                yield {**one["about"]["which"], **failed(one["error"])} if "error" in one else next(answers)

    def preprocess(self, inputs: Any, distance=None, subject=None, viewpoint=None) -> dict[str, Any]:
        """One input → `embedding` [1, 512], `distance` [1] (its bucket), `about` (its places, which it is)."""
        read = self._read(inputs, distance, subject, viewpoint)
        if "photo" in read:
            read["embedding"], read["about"]["note"] = self.encoder.encode_one_with_note(read.pop("photo"))
        return {
            "embedding": torch.from_numpy(read["embedding"])[None],
            "distance": torch.tensor([read["distance"]]),
            "about": [read["about"]],
        }

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        distance = model_buckets(model_inputs["distance"], self.model.config.num_distance_buckets)
        logits = self.model(embedding=model_inputs["embedding"], distance=distance).logits
        return {"probabilities": logits.float().sigmoid(), "about": model_inputs["about"]}

    def postprocess(self, model_outputs: dict[str, Any], threshold=None) -> dict[str, Any]:
        """Probabilities [1, 7] → the prediction."""
        return self._answers(model_outputs, threshold)[0]

    def _answers(self, outputs: dict[str, Any], threshold=None) -> list[dict[str, Any]]:
        thresholds, classes, answers = self._thresholds(threshold), self.model.config.classes, []
        for row, about in zip(outputs["probabilities"].numpy(), outputs["about"], strict=True):
            answer = decide(row, thresholds, classes, about["subject"], about["viewpoint"])
            answer["note"] = "; ".join(note for note in (answer["note"], about["note"]) if note) or None
            answers.append({**about["which"], **answer})
        return answers

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
        except (ValueError, OSError) as error:
            return {"about": {"which": which(item)}, "error": error}

    def _read(self, item: Any, distance=None, subject=None, viewpoint=None) -> dict[str, Any]:
        """One input → its `photo` or `embedding` [512], its `distance` (a bucket), and `about`."""
        dim = self.model.config.embedding_dim
        row = dict(item) if isinstance(item, Mapping) else as_row(item, dim)
        check_keys(row)
        own = {name: row.get(name) for name in ("subject", "viewpoint")}
        points = {
            "subject": as_point(subject if own["subject"] is None else own["subject"]),
            "viewpoint": as_point(viewpoint if own["viewpoint"] is None else own["viewpoint"]),
        }
        about = {**points, "which": which(item), "note": None}
        read = {"distance": bucket_of_item(row, distance, points), "about": about}
        notes = [contradiction(metres_of_item(row, distance, read["distance"]), *points.values())]
        if any(row.get(name) is not None for name in EMBEDDING_NAMES):
            read["embedding"] = np.array(check_vector(vector_of_row(row, dim)), dtype=np.float32)
            if look_normalised(norms_of(read["embedding"][None]))[0]:
                notes.append(NORMALISED)
                warnings.warn(f"{NORMALISED}: the model knows CLIP's own, of length about 10", stacklevel=2)
        else:
            read["photo"] = as_photo(next(row[key] for key in PHOTO_KEYS if row.get(key) is not None))
        about["note"] = "; ".join(filter(None, notes)) or None
        return read
