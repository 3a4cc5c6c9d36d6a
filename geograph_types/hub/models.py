"""A model by its folder or its Hub id, for every command: checked before its code runs and before memory is taken.

A model brings its own code, and loading it runs that code (`trust_remote_code=True`). Where the code does not lie in
a folder of this machine, one sentence on stderr says whose it is. Weights are read from safetensors only.
"""

import contextlib
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geograph_types.cli import CommandError, say
from geograph_types.files import ROOT, temporary_folder
from geograph_types.hub.errors import hub_errors
from geograph_types.hub.weights import INDEX, WEIGHTS, check_weights
from names_geograph import MODEL_TYPE, TASK

if TYPE_CHECKING:
    import torch
    from transformers import Pipeline, PreTrainedConfig, PreTrainedModel

    from layers_geograph import GeographHead

# Of a repository on the Hub only these are fetched: neither pictures nor anything that a pickle could hide in.
FETCHED = ["config.json", "*.py", "*.safetensors", INDEX]
# How a config names code: FILE.CLASS beside the config, or USER/NAME--FILE.CLASS on the Hub; never a path.
CODE = re.compile(r"(?:\w[\w.-]*(?:/\w[\w.-]*)?--)?\w+\.\w+")
# What a model is made of, when it is only asked.
ASKED = ("configuration_geograph.py", "layers_geograph.py", "modeling_geograph.py", "names_geograph.py")
OWN_CODE = {"AutoConfig": "configuration_geograph.GeographConfig", "AutoModel": "modeling_geograph.GeographModel"}


@dataclass(frozen=True)
class ModelFolder:
    """A model's files on this machine.

    `name` is what the user wrote, for messages; `commit` is the Hub's, None of a local folder; `code` is a copy of its
    config.json and its Python files in a folder whose name holds their hash, so that two models never share code.
    """

    name: str
    folder: Path
    commit: str | None
    code: Path
    config: dict[str, Any]

    @property
    def code_is_ours(self) -> bool:
        """Whether its code is this project's as it is here, byte for byte: then ours does the same."""
        own = {key: self.config["auto_map"][key] for key in OWN_CODE}
        return own == OWN_CODE and all(
            (self.code / name).is_file() and (self.code / name).read_bytes() == (ROOT / name).read_bytes()
            for name in ASKED
        )


def load_model(
    name_or_dir: str | Path, revision: str | None = None, device: "str | torch.device | None" = None, **changes: Any
) -> "PreTrainedModel":
    """The model in float32, in evaluation mode, on its device.

    Args:
        name_or_dir: a model folder, or USER/NAME on the Hub, or USER/NAME@REVISION.
        revision: a branch, tag or commit of a Hub id; its code and its weights are both of that version.
        device: such as "cpu" or "cuda:0"; the machine's accelerator where there is one, unless given.
        changes: values of the config in the place of the saved ones, such as `dropout=0.1`.

    Raises:
        CommandError: one line: no such model, no geograph model, weights that lack something, do not fit the config,
            are no numbers, or are no safetensors; a device that is not there.
    """
    device = check_device(device)
    with _model_folder(name_or_dir, revision) as found:
        return _load(found, device, changes)


def load_head(
    name_or_dir: str | Path, revision: str | None = None, device: "str | torch.device | None" = None
) -> "PreTrainedModel | GeographHead":
    """The model to be asked only: answers, `config`, arguments and errors as of `load_model`.

    Where its code is this project's own, none of its code runs, and transformers' model class is not loaded, which
    takes longer than a hundred thousand answers.
    """
    device = check_device(device)
    with _model_folder(name_or_dir, revision) as found:
        if not found.code_is_ours:
            return _load(found, device, {})
        from configuration_geograph import GeographConfig
        from layers_geograph import GeographHead

        head = _empty(GeographHead, _config(found, {}, GeographConfig))
        head.fill(check_weights(found.folder, found.name, head))
        return _finished(head, found, device)


def load_config(name_or_dir: str | Path, revision: str | None = None, **changes: Any) -> "PreTrainedConfig":
    """A model's config alone, with `changes` in the place of the saved values; errors as of `load_model`."""
    with _model_folder(name_or_dir, revision) as found:
        _say_whose_code(found)
        return _config(found, changes)


def read_config(name_or_dir: str | Path, revision: str | None = None) -> dict[str, Any]:
    """config.json of a folder or of a model on the Hub as it stands; none of its code runs. Errors as `load_model`."""
    name = str(name_or_dir)
    return _read_config(_find(name, revision)[0], name)


def load_pipeline(
    name_or_dir: str | Path,
    revision: str | None = None,
    device: "str | torch.device | None" = None,
    **options: Any,
) -> "Pipeline":
    """The model's own pipeline on the model that `load_model` gives; `options` are the pipeline's."""
    device = check_device(device)
    with _model_folder(name_or_dir, revision) as found:
        model = _load(found, device, {})
        try:
            reference = found.config["custom_pipelines"][TASK]["impl"]
        except (KeyError, TypeError):
            reference = None
        if not isinstance(reference, str) or not CODE.fullmatch(reference):
            raise CommandError(f"{found.name}/config.json: it names no pipeline for the task {TASK!r}")
        with _code_errors(found):
            return _class(found, reference)(model=model, task=TASK, device=device, **options)


def check_device(device: "str | torch.device | None") -> "torch.device":
    """The device by its name, or the machine's best one; a CommandError where it is not there."""
    import torch

    if device is None:
        return torch.device(torch.accelerator.current_accelerator(check_available=True) or "cpu")
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise ValueError("it holds no numbers")
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CommandError(f"--device {device}: it cannot be used here ({reason.rstrip('.')}); try cpu") from None
    return found


@contextlib.contextmanager
def _model_folder(name_or_dir: str | Path, revision: str | None) -> Iterator[ModelFolder]:
    """Finds or fetches the model, checks its config.json, says whose code will run, and copies that code."""
    name = str(name_or_dir)
    folder, commit = _find(name, revision)
    config = _read_config(folder, name)
    sources = sorted(folder.glob("*.py"))
    digest = hashlib.sha256()
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.name}\0{len(content)}\0".encode() + content)
    # transformers tells two folders' code apart by the folder's last name, and takes the class of a model from its
    # config's class (transformers issue 45632): a name of its own for each code keeps them apart.
    with temporary_folder("model") as scratch:
        code = scratch / f"{_identifier(Path(name).name or folder.name)}_{digest.hexdigest()[:16]}"
        code.mkdir()
        shutil.copyfile(folder / "config.json", code / "config.json")
        for source in sources:
            shutil.copyfile(source, code / source.name)
        yield ModelFolder(name, folder, commit, code, config)


def _identifier(name: str) -> str:
    """The name as part of a Python module's."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name) or "model"


def _find(name: str, revision: str | None) -> tuple[Path, str | None]:
    """Where the files are, and the commit where they come from the Hub."""
    path = Path(name)
    if path.is_dir():
        if revision:
            raise CommandError(f"--revision {revision}: {name} is a folder, which has no revisions; leave it out")
        return path.resolve(), None
    if path.exists():
        raise CommandError(f"{name} is a file; name the folder that holds config.json and {WEIGHTS}")
    repo_id, _, pinned = name.partition("@")
    if pinned and revision and pinned != revision:
        raise CommandError(f"{name}: it names one revision and --revision {revision} another; give one")
    return _fetch(repo_id, revision or pinned or None)


def _fetch(name: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import HFValidationError, disable_progress_bars, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        name_is_bad = True
    else:
        name_is_bad = "/" not in name
    if name_is_bad:
        raise CommandError(f"{name}: no model there: no such folder, and no Hub id, which looks like USER/NAME")
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with hub_errors(name, "no such folder is here either"):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=FETCHED))
    except CommandError as error:
        cause: BaseException | None = error.__cause__
        if isinstance(cause, GatedRepoError):
            raise CommandError(f"{name}: ask its owner for access on its page, then `hf auth login`") from error
        if isinstance(cause, RepositoryNotFoundError):
            what = "no such folder here, and no such model on the Hub (a private one needs `hf auth login`)"
            raise CommandError(f"{name}: {what}") from error
        if isinstance(cause, RevisionNotFoundError):
            raise CommandError(f"{name}: no revision {revision!r} on the Hub; its page lists them") from error
        raise
    return folder, folder.name


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    """config.json as it stands, before anybody's code has run."""
    where = f"{name}/config.json"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CommandError(f"{name}: no model there: it has no config.json") from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{where} is not JSON ({error}); fetch or make the model again") from None
    if not isinstance(config, dict):
        raise CommandError(f"{where} holds no object; fetch or make the model again")
    if config.get("model_type") != MODEL_TYPE:
        raise CommandError(f"{where}: model_type is {config.get('model_type')!r}, expected {MODEL_TYPE!r}")
    auto_map = config.get("auto_map")
    if not isinstance(auto_map, dict) or any(
        not isinstance(auto_map.get(key), str) or not CODE.fullmatch(auto_map[key])
        for key in ("AutoConfig", "AutoModel")
    ):
        raise CommandError(f"{where}: auto_map does not name the model's code; publish it with publish.py")
    return config


def _say_whose_code(found: ModelFolder) -> None:
    """One sentence where code runs that does not lie in a local folder."""
    name, commit, config = found.name, found.commit, found.config
    references = [*config["auto_map"].values()]
    if isinstance(pipelines := config.get("custom_pipelines"), dict):
        references += [entry.get("impl") for entry in pipelines.values() if isinstance(entry, dict)]
    elsewhere = sorted({part.split("--")[0] for part in references if isinstance(part, str) and "--" in part})
    whose = [f"{name} at commit {commit[:12]}"] if commit and len(elsewhere) < len(references) else []
    whose += [f"{other}, to which its config.json points" for other in elsewhere]
    if whose:
        say(f"{name}: this runs Python code from the Hub, by {' and '.join(whose)}: only go on if you trust it")


def _load(found: ModelFolder, device: "torch.device", changes: dict[str, Any]) -> "PreTrainedModel":
    import torch
    from transformers.utils import logging

    _say_whose_code(found)
    config = _config(found, changes)
    with _code_errors(found):
        model_class = _class(found, config.auto_map["AutoModel"])
        model_class.register_for_auto_class("AutoModel")  # so that `save_pretrained` takes the code along
        empty = _empty(model_class, config)
    check_weights(found.folder, found.name, empty)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of a handful of weights
    try:
        with _code_errors(found):
            model = model_class.from_pretrained(found.folder, config=config, dtype=torch.float32)
    finally:
        if bars:
            logging.enable_progress_bar()
    return _finished(model, found, device)


def _empty(model_class: type, config: "PreTrainedConfig") -> Any:
    """The model that a config asks for, its weights' shapes alone; nothing is allocated."""
    import torch
    from torch.overrides import TorchFunctionMode

    class NothingDrawn(TorchFunctionMode):
        """For random numbers on "meta" PyTorch would load its compiler, which takes a second."""

        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if getattr(function, "__module__", "") == "torch.nn.init":  # all fill `tensor` and give it back
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
            return function(*args, **kwargs)

    with torch.device("meta"), NothingDrawn():
        return model_class(config)


def _finished(model: Any, found: ModelFolder, device: "torch.device") -> Any:
    """Its numbers checked, under the name that the user wrote, on its device, in evaluation mode."""
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise CommandError(f"{found.name}: its weight {name} holds NaN or infinity; fetch or make it again")
    model.config.name_or_path = found.name
    return model.to(device).eval()


def _config(found: ModelFolder, changes: dict[str, Any], config_class: type | None = None) -> "PreTrainedConfig":
    """The config by the model's own code, or by a class of ours."""
    from transformers import AutoConfig

    try:
        with _code_errors(found):
            if config_class is None:
                config = AutoConfig.from_pretrained(found.code, trust_remote_code=True, **changes)
            else:
                config = config_class.from_pretrained(found.code, **changes)
    except ValueError as error:  # what the config's own check refuses
        raise CommandError(f"{found.name}/config.json: {error}") from None
    config.name_or_path = found.name
    return config


def _class(found: ModelFolder, reference: str) -> type:
    """The class that config.json names, of this model's own code."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    return get_class_from_dynamic_module(reference, found.code)


@contextlib.contextmanager
def _code_errors(found: ModelFolder) -> Iterator[None]:
    """Whatever a model's own code raises becomes one line; a ValueError says what is wrong by itself."""
    try:
        yield
    except (CommandError, ValueError, MemoryError):
        raise
    except Exception as error:  # a stranger's code may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CommandError(f"{found.name}: its code does not run here: {reason}") from error
