"""The flags of predict.py."""

from dataclasses import dataclass, field
from pathlib import Path

OUTPUT_SUFFIXES = (".parquet", ".jsonl", ".csv")


@dataclass
class PredictArguments:
    model: str = field(metadata={"help": "model folder, or Hub id"})
    input: list[str] = field(metadata={"help": "rows (.jsonl, .csv, .parquet), folders or tables of photos; or -"})
    output: str = field(metadata={"help": "file to write: .parquet, .jsonl or .csv; with --engine ray a folder"})
    revision: str | None = field(default=None, metadata={"help": "branch, tag or commit of --model on the Hub"})
    dataset_config: str = field(default="large", metadata={"help": "which rows of a folder of prepare_dataset.py"})
    shard: str | None = field(
        default=None, metadata={"help": "I/N: the I-th of N runs that share the input, such as 2/8"}
    )
    subject: str | None = field(
        default=None,
        metadata={
            "help": "place of the subject of all photos that have none of their own; it decides where a "
            "photo's GPS tag, or its table, says where the photographer stood"
        },
    )
    vision_model: str | None = field(
        default=None, metadata={"help": "CLIP tower for photos, folder or Hub id; default: the one of the model"}
    )
    allow_urls: bool = field(default=False, metadata={"help": "fetch photos whose path in a table is an address"})
    write_embeddings: bool = field(default=False, metadata={"help": "add the vectors to the answers; not in a CSV"})
    excel: bool = field(default=False, metadata={"help": "begin a CSV as Excel expects UTF-8"})
    batch_size: int | None = field(default=None, metadata={"help": "photos (16) or rows (4096) a forward pass"})
    threshold: float | None = field(
        default=None, metadata={"help": "one probability for all classes; default: the model's own, one a class"}
    )
    device: str | None = field(default=None, metadata={"help": "such as cpu or cuda:0; default: the best there is"})
    dtype: str = field(default="auto", metadata={"help": "precision of the vision tower: auto, float32, bfloat16 …"})
    site_thumbnail: bool = field(
        default=False, metadata={"help": "encode the site's own kind of thumbnail, as the official vectors were"}
    )
    engine: str = field(
        default="local", metadata={"help": "local, or ray: many machines", "choices": ["local", "ray"]}
    )
    ray_address: str | None = field(default=None, metadata={"help": "of a cluster, such as auto; default: none"})

    def __post_init__(self):
        suffix = Path(self.output).suffix.lower()
        if self.engine == "ray":
            from geograph_types.prediction.units import check_flags

            check_flags(self.output, suffix in OUTPUT_SUFFIXES, self.shard, self.input)
        elif suffix not in OUTPUT_SUFFIXES:
            raise ValueError(f"--output must end in {', '.join(OUTPUT_SUFFIXES)}, got {self.output!r}")
        if self.ray_address and self.engine != "ray":
            raise ValueError("--ray_address goes with --engine ray")
        if self.write_embeddings and suffix == ".csv":
            raise ValueError(
                "--write_embeddings: a CSV cannot hold the vectors; let --output end in .parquet or .jsonl"
            )
        if self.excel and suffix != ".csv":
            raise ValueError("--excel is for an --output that ends in .csv")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"--batch_size must be at least 1, got {self.batch_size}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold must lie between 0 and 1, got {self.threshold}")
        if self.shard:
            from geograph_types.prediction.outputs import parse_shard

            parse_shard(self.shard)
        if self.subject:
            from places_geograph import as_point

            as_point(self.subject)
