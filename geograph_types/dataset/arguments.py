"""The flags of prepare_dataset.py."""

from dataclasses import dataclass, field


@dataclass
class PrepareArguments:
    source: list[str] = field(metadata={"help": "one or several sources, read in this order", "nargs": "+"})
    output_dir: str = field(default="geograph-types", metadata={"help": "the dataset folder; replaced as a whole"})
    small: int = field(default=10_000, metadata={"help": "rows of the config small, besides rare tags"})
    medium: int = field(default=120_000, metadata={"help": "rows of the config medium"})
    strict: bool = field(default=False, metadata={"help": "stop at the first bad row and leave nothing"})
    max_rejected: float = field(default=0.1, metadata={"help": "the share of bad rows above which it is an error"})
    corrections: list[str] = field(
        default_factory=list,
        metadata={"help": "CSVs of gridimage_id, tag, answer (yes, no), as find_photos.py's page makes", "nargs": "+"},
    )
    embedding_dim: int | None = field(
        default=None, metadata={"help": "numbers a vector; default: those of the source or of the tower, else 512"}
    )
    allow_normalised: bool = field(
        default=False, metadata={"help": "take vectors that look normalised, which the official ones are not"}
    )
    vision_model: str | None = field(
        default=None, metadata={"help": "CLIP tower for a CSV of photos: a Hub id or a folder"}
    )
    engine: str = field(
        default="local",
        metadata={
            "help": "local, or ray: many machines read a source file each; the same dataset, bit for bit",
            "choices": ["local", "ray"],
        },
    )
    ray_address: str | None = field(default=None, metadata={"help": "of a cluster, such as auto; default: none"})
    push_to_hub: str | None = field(default=None, metadata={"help": "then publish it as USER/geograph-types"})

    def __post_init__(self):
        if not 0 < self.small <= self.medium:
            raise ValueError(f"--small must be above 0 and at most --medium, got {self.small} and {self.medium}")
        if not 0 <= self.max_rejected <= 1:
            raise ValueError(f"--max_rejected is a share between 0 and 1, got {self.max_rejected}")
        if self.embedding_dim is not None and not 1 <= self.embedding_dim <= 100_000:
            raise ValueError(f"--embedding_dim must lie between 1 and 100000, got {self.embedding_dim}")
        if self.engine == "ray" and "-" in self.source:
            raise ValueError("--engine ray: other processes cannot read this one's standard input; name a file")
        if self.ray_address and self.engine != "ray":
            raise ValueError("--ray_address goes with --engine ray")
        if self.push_to_hub and "/" in self.push_to_hub:
            from geograph_types.hub.publishing import check_repo_id

            check_repo_id(self.push_to_hub)
