"""An official .pth checkpoint → a whole Hub repository. You need this only to use or compare the official weights.

python convert_checkpoint.py best_geograph_model_v2.3.pth --output_dir official-v2.3
python convert_checkpoint.py --download v2.3 --output_dir official-v2.3
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from geograph_types import cli

# The official repository at one commit, and what its files must be (SHA-256).
REPOSITORY = "geograph-project/geograph-type-classifier"
COMMIT = "7b8596bfc0f1d9d52d4103028d0a06b4e6101eec"
VERSIONS = {
    "v1": "928da284edceafd47f2c9350dd4a518690a1d7b1575aefdb3fb9031c2568e806",
    "v2": "b3358b9f70b1610c9f94635c85c6fc8de1b1589b609c2d8e1c9def89a4c9005a",
    "v2.1": "39b913e7d7bcc8e607d1154e77d20045bff083ffe811922e4e5a7238b06806a0",
    "v2.3": "e720cc96f844980918c2e6b6cbef52e549a137b128d03d7317efe2dfc17f6dd3",
}
ADDRESS = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}/best_geograph_model_{{version}}.pth"


@dataclass
class ConvertArguments:
    output_dir: str = field(default="official-checkpoint", metadata={"help": "then a whole Hub repository"})
    download: str | None = field(
        default=None, metadata={"help": f"fetch an official version ({', '.join(VERSIONS)}) instead of naming a file"}
    )


def main() -> None:
    path, args = parse()
    version = args.download or known_version(path)
    if args.download:
        from geograph_types.rows.sources import download

        path = download(ADDRESS.format(version=args.download), sha256=VERSIONS[args.download])
    if not path.is_file():
        raise cli.CommandError(f"{path}: no such file; --download v2.3 fetches the best official one")
    convert(path, Path(args.output_dir), version)
    print(f"{args.output_dir}: AutoModel.from_pretrained({args.output_dir!r}, trust_remote_code=True)")


def parse() -> tuple[Path | None, ConvertArguments]:
    """The file, which stands without a flag, and the flags."""
    arguments, named = sys.argv[1:], None
    for i, argument in enumerate(arguments):
        after_flag = i and arguments[i - 1].startswith("--") and "=" not in arguments[i - 1]
        if not argument.startswith("-") and not after_flag:  # every flag takes one value
            named = arguments.pop(i)
            break
    (args,) = cli.parse_flags(ConvertArguments, description=__doc__, args=arguments)
    if (named is None) == (args.download is None):
        cli.usage_error("name either a .pth file or --download VERSION")
    if args.download and args.download not in VERSIONS:
        cli.usage_error(f"--download must be one of {', '.join(VERSIONS)}, got {args.download!r}")
    return None if named is None else Path(named), args


def known_version(path: Path) -> str | None:
    """The official version whose bytes these are; None for a file of someone's own."""
    import hashlib

    if not path.is_file():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return next((version for version, known in VERSIONS.items() if known == digest), None)


def convert(path: Path, output: Path, version: str | None) -> None:
    from transformers.utils import logging

    from geograph_types.hub.model_card import write_card
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    logging.disable_progress_bar()
    model, checkpoint = GeographModel.load_checkpoint(path)
    save_model_repository(model, output)
    what = f"the official {version}" if version else f"`{path.name}`, a checkpoint in the official format"
    epoch = checkpoint.get("epoch")
    origin = (
        f"Converted, bit for bit, from {what}"
        f"{f' (epoch {epoch})' if isinstance(epoch, int) else ''}"
        f"{f' of [{REPOSITORY}](https://github.com/{REPOSITORY}/tree/{COMMIT})' if version else ''}, "
        "by `convert_checkpoint.py`. Thresholds are 0.5, as none were published with it; the official inference "
        "script sends types above 0.2."
    )
    write_card(output, model.config, None, origin=origin)


if __name__ == "__main__":
    cli.run(main)
