"""Photos to CLIP embeddings: float32 [512], projected, **not** normalised, as the official vectors are.

    encoder = GeographEncoder.from_pretrained()
    vectors = list(encoder.encode(list_photos("holiday")))  # in order, each an array or a PhotoError

Each core decodes a few photos and runs the tower on them by itself: decoding on one overlaps with the forward on
another, and none waits for the others at every layer. Memory does not grow with the number of photos.
"""

import collections
import itertools
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants, get_session, hf_hub_url, try_to_load_from_cache
from PIL import Image
from safetensors import SafetensorError
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging

try:
    from .files_geograph import within
    from .names_geograph import VISION_MODEL, VISION_MODEL_REVISION, tower_of
    from .photos_geograph import (
        PhotoError,
        open_photo,
        resize_and_crop,
        site_thumbnail,
    )
    from .towers_geograph import best_dtype, make_forward
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from files_geograph import within
    from names_geograph import VISION_MODEL, VISION_MODEL_REVISION, tower_of
    from photos_geograph import (
        PhotoError,
        open_photo,
        resize_and_crop,
        site_thumbnail,
    )
    from towers_geograph import best_dtype, make_forward

logger = logging.get_logger("transformers.geograph")

# Seconds in which the Hub must begin to answer; without a network its client would try for half a minute, and say so.
HUB_SECONDS = 6.0
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def hub_options(name: str, revision: str | None, settings: str = "preprocessor_config.json") -> dict[str, Any]:
    """What a tower is loaded with: its commit, and where the Hub cannot be reached what is kept of it here alone.

    Args:
        settings: the file that is needed besides the tower's config and weights.
    """
    if Path(name).is_dir():
        return {}
    options: dict[str, Any] = {"revision": revision}
    try:
        needed = (("config.json",), WEIGHTS, (settings,))
        whole = revision is not None and all(_is_kept(name, files, revision) for files in needed)
        if not whole and not constants.HF_HUB_OFFLINE and not _hub_answers(hf_hub_url(name, "config.json")):
            options["local_files_only"] = True
    except ValueError:  # no Hub id: whoever loads it says so
        pass
    return options


def _is_kept(name: str, files: tuple[str, ...], revision: str) -> bool:
    """Whether one of these files is in the client's cache."""
    return any(isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in files)


def _hub_answers(address: str) -> bool:
    """Whether anything at all comes back, in time; a name server's silence counts, too."""
    try:
        within(HUB_SECONDS, lambda: get_session().head(address, timeout=HUB_SECONDS))
    except Exception:  # by httpx or httpx2, as the client's version has it: whatever it is, nothing came back
        return False
    return True


class GeographEncoder:
    """A CLIP vision tower with its own image processor's settings; made by `from_pretrained`.

    Attributes:
        embedding_dim: width of the vectors. device, dtype: where and in which precision the tower runs.
        site_thumbnail: whether photos first become the site's thumbnail, from which the official vectors were made.
        allow_urls: whether a photo may be an http(s) address. Turn it off where strangers name the photos.
    """

    def __init__(self, tower, processor, device, dtype, *, site_thumbnail: bool = False, allow_urls: bool = True):
        self.device, self.dtype, self.site_thumbnail, self.allow_urls = device, dtype, site_thumbnail, allow_urls
        self.embedding_dim: int = tower.config.projection_dim
        size, crop = dict(processor.size), dict(processor.crop_size)
        self.size, self.resample = size.get("shortest_edge"), Image.Resampling(processor.resample)
        steps = (processor.do_resize, processor.do_center_crop, processor.do_rescale, processor.do_normalize)
        if not all(steps) or not self.size or crop != {"height": self.size, "width": self.size}:
            raise ValueError(f"the tower's image processor is not CLIP's: size {size}, crop_size {crop}")
        # pixel value 0 to 255 → (pixel · rescale_factor - mean) / std, as one scale and shift a colour.
        mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
        self._forward = make_forward(tower, processor.rescale_factor / std, -mean / std, device, dtype)

    @classmethod
    def for_config(
        cls,
        config: Any,
        vision_model: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = "auto",
        *,
        site_thumbnail: bool = False,
        allow_urls: bool = True,
    ) -> "GeographEncoder":
        """The tower of a classifier: the given one, else the config's own at its commit, else the official one.

        Args:
            config: a GeographConfig; None where there is no model yet.
            vision_model: a Hub id or a folder. The rest as in `from_pretrained`.

        Raises OSError: no tower there, or no network; ValueError: another kind of model, or vectors of another width
        than the classifier takes.
        """
        name, revision = tower_of(config, None if vision_model is None else str(vision_model))
        encoder = cls.from_pretrained(
            name, revision, device, dtype, site_thumbnail=site_thumbnail, allow_urls=allow_urls
        )
        if config is not None and encoder.embedding_dim != config.embedding_dim:
            raise ValueError(
                f"the vision tower {name!r} gives vectors of {encoder.embedding_dim} numbers and the model takes "
                f"{config.embedding_dim}: name the tower that its training data came from"
            )
        return encoder

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | Path = VISION_MODEL,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = "auto",
        *,
        site_thumbnail: bool = False,
        allow_urls: bool = True,
    ) -> "GeographEncoder":
        """Loads the tower and its image processor.

        Args:
            name_or_dir: Hub id or folder. revision: commit of a Hub id; the official tower is pinned without it.
            device: the machine's accelerator where there is one, unless given.
            dtype: "auto" or None takes what the device is fast in; else e.g. "float32".

        Raises OSError: no tower there, a damaged one, or no network; ValueError: another kind of model.
        """
        name = str(name_or_dir)
        options = hub_options(name, revision or {VISION_MODEL: VISION_MODEL_REVISION}.get(name))
        try:
            tower, report = CLIPVisionModelWithProjection.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, **options
            )
            processor = CLIPImageProcessorPil.from_pretrained(name, **options)
        except (OSError, RuntimeError, SafetensorError, UnpicklingError) as error:
            hub = "the Hub may not be asked (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "the Hub gives none"
            hub = f"no connection to {constants.ENDPOINT}" if "local_files_only" in options else hub
            way = f"no folder with one, and {hub}; name a folder that holds {VISION_MODEL}"
            if not isinstance(error, OSError) or (Path(name) / "config.json").is_file():
                # What follows in an unpickling error is the advice to load the file unsafely.
                said = str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".:")
                way = f"its files are damaged or incomplete ({said}); fetch them again"
            raise OSError(f"cannot load the vision tower {name!r}: {way}") from error
        if report["missing_keys"]:
            raise ValueError(f"{name}: not a CLIP vision tower with projection: no {min(report['missing_keys'])}")
        device = torch.device(device or torch.accelerator.current_accelerator(True) or "cpu")
        dtype = best_dtype(device) if dtype in (None, "auto") else getattr(torch, str(dtype).split(".")[-1], None)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, got {dtype!r}")
        logger.warning_once(f"vision tower: {name} on {device.type} in {str(dtype).removeprefix('torch.')}")
        return cls(tower.eval(), processor, device, dtype, site_thumbnail=site_thumbnail, allow_urls=allow_urls)

    def encode(self, photos: Iterable[Any], batch_size: int = 16) -> Iterator[np.ndarray | PhotoError]:
        """Yields for each photo, in order, its embedding (float32 [512]) or the PhotoError that says what is wrong.

        Args:
            photos: anything that `open_photo` takes; read lazily.
            batch_size: photos a forward at most, on each core.
        """
        return (vector for vector, _ in self.encode_with_notes(photos, batch_size))

    def encode_with_notes(
        self, photos: Iterable[Any], batch_size: int = 16
    ) -> Iterator[tuple[np.ndarray | PhotoError, str | None]]:
        """As `encode`, each with a note: what a person should know of a photo that was encoded all the same."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return self._stream(iter(photos), batch_size)

    def encode_one(self, photo: Any) -> np.ndarray:
        """One photo → float32 [512]. Raises PhotoError."""
        return self.encode_one_with_note(photo)[0]

    def encode_one_with_note(self, photo: Any) -> tuple[np.ndarray, str | None]:
        """One photo → float32 [512], and its note or None. Raises PhotoError."""
        result, note = self._encode_batch([photo])[0]
        if isinstance(result, PhotoError):
            raise result
        return result, note

    def pixels(self, photo: Any) -> np.ndarray:
        """What CLIP sees of a photo, before normalisation: uint8 [224, 224, 3]. Raises PhotoError."""
        return self._look(photo)[0]

    def _look(self, photo: Any) -> tuple[np.ndarray, str | None]:
        opened = open_photo(photo, shrink_to=None if self.site_thumbnail else self.size, urls=self.allow_urls)
        seen = site_thumbnail(opened) if self.site_thumbnail else opened
        return resize_and_crop(seen, self.size, self.resample), opened.note

    def _stream(self, photos: Iterator[Any], batch_size: int) -> Iterator[tuple[np.ndarray | PhotoError, str | None]]:
        cores = torch.get_num_threads()
        workers = cores + 1  # while one waits for the disc, the others compute
        pool = ThreadPoolExecutor(workers, thread_name_prefix="geograph-encoder")
        pending: collections.deque = collections.deque()
        try:
            _one_thread_each(pool, workers, cores)
            for taken in itertools.count():
                # Small batches first, so that a few photos are shared by all cores.
                batch = list(itertools.islice(photos, min(batch_size, 2 ** (taken // workers + 1))))
                if batch:
                    pending.append(pool.submit(self._encode_batch, batch))
                while pending and (len(pending) > workers or not batch):
                    yield from pending.popleft().result()
                if not batch:
                    return
        finally:  # also when the caller stops early
            pool.shutdown(cancel_futures=True)

    def _encode_batch(self, photos: list[Any]) -> list[tuple[np.ndarray | PhotoError, str | None]]:
        results: list[Any] = []
        for photo in photos:
            try:
                results.append(self._look(photo))
            except PhotoError as error:  # the rest go on
                results.append((error, None))
        good = [i for i, (result, _) in enumerate(results) if not isinstance(result, PhotoError)]
        if good:
            with torch.inference_mode():
                pixels = torch.from_numpy(np.stack([results[i][0] for i in good]))
                vectors = self._forward(pixels).float().cpu().numpy()
            for i, vector in zip(good, vectors, strict=True):
                results[i] = (vector, results[i][1])
        return results


def _one_thread_each(pool: ThreadPoolExecutor, workers: int, cores: int):
    """Makes torch work with one thread in each of the pool's threads, and as before in all others."""
    ready = threading.Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(lambda: (torch.set_num_threads(1), ready.wait()))
    ready.wait()
    torch.set_num_threads(cores)  # the threads' calls have also set what threads to come begin with
