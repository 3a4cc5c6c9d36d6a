"""Publishes a model, a dataset or a Space on the Hugging Face Hub, in one commit, checked before anything is sent.

    python publish.py model   --path geograph-type-classifier --repo_id USER/geograph-type-classifier --tag v1.0
    python publish.py dataset --path geograph-types --repo_id USER/geograph-types
    python publish.py space   --path geograph-type-classifier --repo_id USER/geograph-types-demo

The repository then mirrors the folder: new and changed files are sent, files that the folder no longer holds are
removed. The same command again changes nothing. `hf auth login`, or HF_TOKEN, gives the right to write.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from transformers import HfArgumentParser

from geograph_types import cli


@dataclass
class PublishFlags:
    """What to publish and where to."""

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
        default=False, metadata={"help": "publish a model although it was trained on made-up rows"}
    )

    def __post_init__(self):
        from geograph_types.hub.publishing import check_repo_id

        check_repo_id(self.repo_id)
        if self.tag and self.create_pr:
            raise ValueError("--tag names a published version, and a pull request is none yet: leave one of them out")


def read_flags(args: list[str] | None = None) -> tuple[str, PublishFlags]:
    """Command line → (kind, flags); wrong usage ends the program with status 2."""
    parser = HfArgumentParser(PublishFlags, description=__doc__.strip().splitlines()[0])
    parser.add_argument("kind", choices=["model", "dataset", "space"], help="what it is")
    try:
        flags, rest = parser.parse_args_into_dataclasses(args, look_for_args_file=False)
    except ValueError as error:
        parser.error(" ".join(str(error).split()))
    if rest.kind != "space" and flags.model_id:
        parser.error("--model_id is for a Space; a model or dataset is published from --path")
    if (flags.path is None) == (flags.model_id is None):
        parser.error("a Space needs either --path or --model_id" if rest.kind == "space" else "--path: which folder?")
    return rest.kind, flags


def main() -> None:
    """Reads the flags, builds the Space's folder where it is one, publishes, prints the page's address."""
    kind, flags = read_flags()
    from geograph_types.hub.publishing import publish_folder

    options = {
        "message": flags.message,
        "tag": flags.tag,
        "private": flags.private,
        "create_pr": flags.create_pr,
        "dry_run": flags.dry_run,
        "allow_synthetic": flags.allow_synthetic,
    }
    if kind != "space":
        print(publish_folder(flags.path, flags.repo_id, kind, **options))
        return
    from geograph_types.space.folder import build_space_folder

    with tempfile.TemporaryDirectory(prefix="geograph-space-") as folder:
        build_space_folder(Path(folder), model_dir=flags.path, model_id=flags.model_id)
        print(publish_folder(folder, flags.repo_id, kind, **options))


if __name__ == "__main__":
    cli.run(main)
