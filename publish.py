"""Publishes a model, a dataset or a Space on the Hugging Face Hub, in one commit, checked before anything is sent.

    python publish.py model   --path geograph-type-classifier --repo_id USER/geograph-type-classifier --tag v1.0
    python publish.py dataset --path geograph-types --repo_id USER/geograph-types
    python publish.py space   --path geograph-type-classifier --repo_id USER/geograph-types-demo

The repository then mirrors the folder: new and changed files are sent, files that the folder no longer holds are
removed. The same command again changes nothing. `hf auth login`, or HF_TOKEN, gives the right to write.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geograph_types import cli
from geograph_types.files import temporary_folder


@dataclass
class PublishFlags:
    """What to publish and where to."""

    kind: Literal["model", "dataset", "space"] = field(metadata={"positional": True, "help": "what it is"})
    repo_id: str = field(metadata={"help": "USER/NAME on the Hub; made if need be"})
    path: str | None = field(
        default=None, metadata={"help": "the folder; for a Space a model folder that travels with it"}
    )
    model_id: str | None = field(
        default=None, metadata={"help": "for a Space: USER/NAME of a published model to use instead of --path"}
    )
    tag: str | None = field(default=None, metadata={"help": "name for this version, such as v1.0"})
    message: str | None = field(
        default=None, metadata={"help": "the commit's message; default: what, from which version"}
    )
    private: bool = field(default=False, metadata={"help": "make the new repository private"})
    create_pr: bool = field(default=False, metadata={"help": "propose the changes as a pull request"})
    dry_run: bool = field(default=False, metadata={"help": "print the files and their sizes, send nothing"})
    allow_synthetic: bool = field(
        default=False, metadata={"help": "publish a model, dataset or Space although it comes from made-up rows"}
    )

    def __post_init__(self):
        from geograph_types.hub.publishing import check_repo_id

        check_repo_id(self.repo_id)
        if self.tag and self.create_pr:
            raise ValueError("--tag names a published version, and a pull request is none yet: leave one of them out")
        if self.kind != "space" and self.model_id:
            raise ValueError("--model_id is for a Space; a model or dataset is published from --path")
        if (self.path is None) == (self.model_id is None):
            is_space = self.kind == "space"
            raise ValueError("a Space needs either --path or --model_id" if is_space else "--path: which folder?")


def main() -> None:
    """Reads the flags, builds the Space's folder where it is one, publishes, prints the page's address."""
    (flags,) = cli.parse_flags(PublishFlags, description=__doc__)
    from geograph_types.hub.publishing import publish_folder

    options = {
        "message": flags.message,
        "tag": flags.tag,
        "private": flags.private,
        "create_pr": flags.create_pr,
        "dry_run": flags.dry_run,
        "allow_synthetic": flags.allow_synthetic,
    }
    if flags.kind != "space":
        print(publish_folder(flags.path, flags.repo_id, flags.kind, **options))
        return
    from geograph_types.space.folder import build_space_folder

    check_model(flags)
    with temporary_folder("space") as folder:
        build_space_folder(folder, model_dir=flags.path, model_id=flags.model_id)
        print(publish_folder(folder, flags.repo_id, "space", **options))


def check_model(flags: PublishFlags) -> None:
    """The Space's model: a folder without links out of it, or one that is there on the Hub; synthetic only if told."""
    from geograph_types.hub.checks import refuse_synthetic
    from geograph_types.hub.models import read_config
    from geograph_types.hub.publishing import files_to_publish

    if flags.path:
        files_to_publish(Path(flags.path), "model", quiet=True)
    elif read_config(flags.model_id).get("synthetic"):
        refuse_synthetic(f"{flags.model_id}: this model was trained on", flags.allow_synthetic)


if __name__ == "__main__":
    cli.run(main)
