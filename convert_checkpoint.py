"""An official .pth checkpoint → a whole Hub repository.

You need this only to use or compare the official weights.

    python convert_checkpoint.py best_geograph_model_v2.3.pth --output_dir official-v2.3
    python convert_checkpoint.py --download v2.3 --output_dir official-v2.3
"""

from dataclasses import dataclass, field
from pathlib import Path

from geograph_types import cli
from geograph_types.hub.official import ADDRESS, VERSIONS, known_version


@dataclass
class ConvertArguments:
    file: str | None = field(default=None, metadata={"positional": True, "help": "the .pth file"})
    output_dir: str = field(default="official-checkpoint", metadata={"help": "then a whole Hub repository"})
    download: str | None = field(
        default=None, metadata={"help": f"fetch an official version ({', '.join(VERSIONS)}) instead of naming a file"}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "remove an older model there, its results and its checkpoints first"}
    )

    def __post_init__(self):
        if (self.file is None) == (self.download is None):
            raise ValueError("name either a .pth file or --download VERSION")
        if self.download and self.download not in VERSIONS:
            raise ValueError(f"--download must be one of {', '.join(VERSIONS)}, got {self.download!r}")


def main() -> None:
    (args,) = cli.parse_flags(ConvertArguments, description=__doc__)
    path = Path(args.file) if args.file else fetch(args.download)
    if not path.is_file():
        raise cli.CommandError(f"{path}: no such file; --download v2.3 fetches the best official one")
    from geograph_types.hub.converting import convert

    convert(path, Path(args.output_dir), known_version(path), args.overwrite_output_dir)
    print(f"{args.output_dir}: AutoModel.from_pretrained({args.output_dir!r}, trust_remote_code=True)")


def fetch(version: str) -> Path:
    from geograph_types.rows.addresses import download

    return download(ADDRESS.format(version=version), sha256=VERSIONS[version])


if __name__ == "__main__":
    cli.run(main)
