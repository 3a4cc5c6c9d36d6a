"""The classifier: a photo's CLIP embedding and its distance bucket in, a logit a class out."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

try:
    from .configuration_geograph import GeographConfig
    from .layers_geograph import GeographLayers
    from .names_geograph import CLASSES, OFFICIAL_FAR, TASK
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from configuration_geograph import GeographConfig
    from layers_geograph import GeographLayers
    from names_geograph import CLASSES, OFFICIAL_FAR, TASK


def weighted_bce(logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over the batch of `weight_i` × mean over the classes of binary cross-entropy (the official loss).

    Args:
        logits: [B, C], or [B, K, C] for K distances a row, which then share its weight. labels: as logits, 0 to 1.
        weight: [B], 1 where absent. Computed in float32.
    """
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
    per_row = loss.flatten(1).mean(-1)
    return (per_row if weight is None else per_row * weight).mean()


@dataclass
class GeographOutput(ModelOutput):
    """`loss`: scalar, when labels were given. `logits`: [B, C] or [B, K, C], in the order of `config.classes`."""

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None


class GeographModel(GeographLayers, PreTrainedModel):
    """The official architecture (v1 to v2.3), so that official checkpoints convert bit for bit."""

    config_class = GeographConfig
    base_model_prefix = ""
    main_input_name = "embedding"
    # So that a saved folder holds this file and all that it imports.
    _auto_class = "AutoModel"
    # Trainer would skip its division by the accumulation steps otherwise.
    accepts_loss_kwargs = False

    def __init__(self, config: GeographConfig):
        super().__init__(config)
        self.add_layers(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """PyTorch's own defaults, which the official training used; transformers leaves them out on "meta"."""
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)

    def forward(
        self,
        embedding: torch.Tensor,
        distance: torch.Tensor,
        labels: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
    ) -> GeographOutput:
        """Logits, and with `labels` the weighted loss.

        Args:
            embedding: float [B, D], projected CLIP image features (D 512 for ViT-B/32), **not** normalised.
            distance: int [B], bucket indices, the last of `config.num_distance_buckets` for not known (22 of 23); or
                [B, K], as many for each photo: a quick way to ask what each of them would change.
            labels: float [B, C], or [B, K, C] with as many distances; 1 where the class applies.
            weight: float [B], how far to trust each row's labels.

        Raises:
            ValueError: a wrong shape or dtype, or a bucket out of range.
        """
        self.check_inputs(embedding, distance, labels, weight)
        logits = self.logits_of(embedding, distance)
        loss = None if labels is None else weighted_bce(logits, labels, weight)
        return GeographOutput(loss=loss, logits=logits)

    @classmethod
    def from_pretrained(cls, *args, output_loading_info: bool = False, **kwargs):
        """As `PreTrainedModel.from_pretrained`, but weights that the file lacks are not made up at random.

        Raises:
            ValueError: a missing weight, which would otherwise be a warning and a model that guesses; a damaged file.
        """
        name = args[0] if args else "the checkpoint"
        try:
            model, loading = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        except SafetensorError as error:
            raise ValueError(f"{name}: its weights are damaged ({error}); fetch or make it again") from None
        if missing := sorted(loading["missing_keys"]):
            raise ValueError(f"{name}: its weights lack {', '.join(missing)}")
        return (model, loading) if output_loading_info else model

    def save_pretrained(self, save_directory: str | os.PathLike, *args, **kwargs) -> None:
        """As `PreTrainedModel.save_pretrained`; the folder is then whole: its pipeline works, too.

        transformers copies this file and what it imports (`as_pipeline` imports the pipeline, so that it comes along
        from the Hub, too); it does not say in config.json where the pipeline is, nor let others read the weights.
        """
        self.config.check()
        self.config.custom_pipelines = {TASK: {"impl": "pipeline_geograph.GeographPipeline", "pt": ["AutoModel"]}}
        self.config.auto_map = {"AutoConfig": "configuration_geograph.GeographConfig"}
        super().save_pretrained(save_directory, *args, **kwargs)
        if not kwargs.get("is_main_process", True):
            return
        here = Path(__file__).resolve().parent
        if here != Path(save_directory).resolve():
            for path in here.glob("*_geograph.py"):
                shutil.copyfile(path, Path(save_directory, path.name))
        mask = os.umask(0)
        os.umask(mask)
        for path in Path(save_directory).glob("*.safetensors"):  # safetensors writes them for the owner alone
            path.chmod(0o666 & ~mask)

    def as_pipeline(self, **kwargs):
        """This model as a `GeographPipeline`: photos or embeddings in, types out. Arguments as the pipeline's."""
        try:
            # The pipeline's own files are named, too: transformers 5.4 copies only what this file itself imports.
            from .decision_geograph import __name__ as _decision  # noqa: F401
            from .degrees_geograph import __name__ as _degrees  # noqa: F401
            from .encoder_geograph import __name__ as _encoder  # noqa: F401
            from .files_geograph import __name__ as _files  # noqa: F401
            from .grid_geograph import __name__ as _grid  # noqa: F401
            from .items_geograph import __name__ as _items  # noqa: F401
            from .photos_geograph import __name__ as _photos  # noqa: F401
            from .pipeline_geograph import GeographPipeline
            from .places_geograph import __name__ as _places  # noqa: F401
            from .row_geograph import __name__ as _row  # noqa: F401
            from .towers_geograph import __name__ as _towers  # noqa: F401
        except ImportError:
            if __package__:  # a library that is missing or too old says so itself
                raise
            from pipeline_geograph import GeographPipeline
        return GeographPipeline(self, **kwargs)

    @classmethod
    def load_checkpoint(cls, path: str | Path) -> tuple["GeographModel", dict]:
        """An official `.pth` file → the model in evaluation mode, and the checkpoint as it was read.

        Its config says what the official training did: Cross Grid counted as Cross Far only beyond 256 m.

        Raises:
            ValueError: a file that is not an official checkpoint, or holds NaN. OSError: a file that cannot be read.
        """
        Path(path).open("rb").close()  # what cannot be opened says so itself
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises a different one for each way a file can be broken
            # The first sentence: the next ones advise to read the file without the safeguard.
            reason = str(error).strip().partition("\n")[0].split(". ")[0]
            reason = reason if " " in reason else f"{type(error).__name__} {reason}".strip()
            raise ValueError(f"{path}: not a PyTorch checkpoint that can be read safely ({reason})") from error
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model_state_dict"), dict):
            raise ValueError(f"{path}: not an official Geograph checkpoint: it has no 'model_state_dict'")
        if list(checkpoint.get("classes", CLASSES)) != CLASSES:
            raise ValueError(f"{path}: its classes are {checkpoint['classes']}, expected {CLASSES}")
        state = dict(checkpoint["model_state_dict"])
        config = GeographConfig(cross_far_min_distance=OFFICIAL_FAR)
        if "dist_emb.weight" in state:  # 24 rows in the official files; the last is never used
            state["dist_emb.weight"] = state["dist_emb.weight"][: config.num_distance_buckets]
        model = cls(config)
        expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        if found != expected:
            odd = sorted(name for name in expected | found if expected.get(name) != found.get(name))[0]
            raise ValueError(f"{path}: {odd} has shape {found.get(odd)}, expected {expected.get(odd)}")
        for name, value in state.items():
            if not value.isfinite().all():
                raise ValueError(f"{path}: {name} holds NaN or infinity; fetch it again")
        model.load_state_dict(state)
        return model.eval(), checkpoint
