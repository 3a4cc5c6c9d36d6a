"""The folder that becomes the Space: `app.py`, the rooms it stands on, its card, its requirements, and a model.

What belongs to it is read from the imports themselves, so that no list can fall behind the code.
"""

import ast
import importlib.metadata
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError
from geograph_types.files import ROOT, resource
from geograph_types.hub.cards import fill_card
from geograph_types.hub.model_folder import TRAVELLING_FILES
from geograph_types.space.uploads import QUEUE_SIZE
from names_geograph import VISION_MODEL, VISION_MODEL_REVISION

PROGRAM = "app.py"
# Where the model that travels with the Space lies, beside `app.py`.
MODEL_FOLDER = "model"
MODEL_FILES = ("config.json", "model.safetensors", *TRAVELLING_FILES)
# What the page is made of besides code.
ASSETS = "geograph_types/space"
ASSET_FILES = ("*.css", "*.js", "examples/*")
# Of the official tower, at its commit.
TOWER_FILES = ("config.json", "preprocessor_config.json", "pytorch_model.bin")
# The Space's own `sdk_version` installs it.
FROM_THE_SDK = "gradio"


def build_space_folder(folder: Path, *, model_dir: str | None = None, model_id: str | None = None) -> None:
    """Fills `folder` with all that the Space needs; with either a model that travels or a published one's name.

    Raises:
        CommandError: `model_dir` is no whole model folder.
    """
    modules = local_modules(ROOT / PROGRAM)
    for module in modules:
        target = folder / module.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(module, target)
    for pattern in ASSET_FILES:
        for asset in sorted((ROOT / ASSETS).glob(pattern)):
            target = folder / ASSETS / asset.relative_to(ROOT / ASSETS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(asset, target)
    (folder / "requirements.txt").write_text("\n".join(requirements(modules)) + "\n", encoding="utf-8")
    if model_dir is not None:
        _copy_model(Path(model_dir), folder / MODEL_FOLDER)
    card = fill_card(Path(__file__).with_name("space_card.md"), space_values(model_dir, model_id))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _copy_model(source: Path, target: Path) -> None:
    """What answers are made of; figures and curves are for the model's own page."""
    absent = [name for name in MODEL_FILES if not (source / name).is_file()]
    if absent:
        raise CommandError(f"{source} is no whole model folder: it lacks {', '.join(absent)}")
    target.mkdir()
    for name in MODEL_FILES:
        shutil.copy(source / name, target / name)


def space_values(model_dir: str | None, model_id: str | None) -> dict[str, Any]:
    """What the card's template asks for."""
    import platform

    return {
        "sdk_version": _pins()["gradio"].split("==")[1],
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "model_id": model_id or "",
        "license": _license(model_dir) or "apache-2.0",
        "preload": [*([model_id] if model_id else []), *_tower(model_dir)],
        "queue_size": QUEUE_SIZE,
    }


def _license(model_dir: str | None) -> str | None:
    """The licence that a model folder's card names: that of the weights which travel with the Space."""
    from huggingface_hub import metadata_load

    card = Path(model_dir, "README.md") if model_dir else None
    return (metadata_load(card) or {}).get("license") if card and card.is_file() else None


def _tower(model_dir: str | None) -> list[str]:
    """What is fetched while the Space is built, so that no visitor waits for the vision tower."""
    config = json.loads(Path(model_dir, "config.json").read_text(encoding="utf-8")) if model_dir else {}
    name = config.get("vision_model") or VISION_MODEL
    if name == VISION_MODEL:
        return [f"{name} {','.join(TOWER_FILES)} {config.get('vision_model_revision') or VISION_MODEL_REVISION}"]
    return [name] if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else []


def local_modules(program: Path) -> list[Path]:
    """A program and every file beside it that it imports, directly or not, at the top or inside a function; sorted."""
    found: set[Path] = set()
    waiting = [program]
    while waiting:
        file = waiting.pop()
        if file not in found and file.is_file():
            found.add(file)
            waiting += [path for name in _imports(file) for path in _files_of(program.parent, name)]
    return sorted(found)


def _files_of(root: Path, name: str) -> Iterator[Path]:
    """What an import of `name` reads: the module, or the package, and every `__init__.py` on the way."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:depth])
        yield from (place.with_suffix(".py"), place / "__init__.py")


def requirements(modules: list[Path]) -> list[str]:
    """The exact versions of what a user of the model needs, and of what else these files import."""
    names = {name.split(".")[0] for module in modules for name in _imports(module)}
    providers = importlib.metadata.packages_distributions()
    wanted = {_plain(distribution) for name in names for distribution in providers.get(name, [])}
    wanted |= {_plain(name) for name in _names(resource("requirements.txt"))}
    wanted.discard(FROM_THE_SDK)
    return [pin for name, pin in _pins().items() if name in wanted]


def _pins() -> dict[str, str]:
    """The versions that are tested together: a distribution → its line in the lock file."""
    return {_plain(name): pin for name, pin in _names(ROOT / "requirements-lock.txt").items()}


def _names(file: Path) -> dict[str, str]:
    """The distributions that a requirements file names, each with its line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return {match[1]: match[0] for line in lines if (match := re.match(r"([\w.-]+)(?:\[[\w,]+\])?[=<>]=\S+", line))}


def _imports(file: Path) -> Iterator[str]:
    """Dotted names of what a file imports; `from .x import y` counts as x, `from a import b` as a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _plain(name: str) -> str:
    """PEP 503: how a distribution is called whatever way it is spelled."""
    return re.sub(r"[-_.]+", "-", name).lower()
