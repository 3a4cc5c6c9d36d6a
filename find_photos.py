"""Of millions of rows with vectors, the photos that a dataset lacks: those like given ones, or likeliest to be a type.

    python find_photos.py --input rows.parquet --like drones.txt --exclude geograph-types --output found.csv
    python find_photos.py --input rows.parquet --model geograph-type-classifier --type "From Drone" --output found.csv
    python find_photos.py --input rows.parquet --model geograph-type-classifier --disagree --output found.csv

Writes found.csv, and found.html to look through: a moderator's yes and no there become a CSV for
`prepare_dataset.py --corrections`. docs/workflow.md shows the whole loop.
"""

from dataclasses import dataclass, field
from pathlib import Path

from geograph_types.cli import CommandError, parse_flags, run, say


@dataclass
class FindArguments:
    input: list[str] = field(metadata={"help": "rows (JSONL, Parquet), dataset folders, Hub ids", "nargs": "+"})
    output: str = field(metadata={"help": "the CSV; a page of the same name in .html lies beside it"})
    like: str | None = field(default=None, metadata={"help": "a file of photos' numbers: find what is like them"})
    like_dataset: str | None = field(default=None, metadata={"help": "where their vectors are; default: the input"})
    tag: str | None = field(default=None, metadata={"help": "with --like: the tag that they are looked for"})
    model: str | None = field(default=None, metadata={"help": "model folder, or Hub id"})
    type: str | None = field(default=None, metadata={"help": 'such as "From Drone": the likeliest to be that'})
    disagree: bool = field(default=False, metadata={"help": "where the model and the tags disagree most"})
    uncertain: bool = field(default=False, metadata={"help": "where the model is least certain"})
    top: int = field(default=200, metadata={"help": "photos to find"})
    exclude: list[str] = field(
        default_factory=list, metadata={"help": "datasets or rows whose photos are not wanted", "nargs": "+"}
    )
    revision: str | None = field(default=None, metadata={"help": "of a model on the Hub: a commit or tag"})
    device: str | None = field(default=None, metadata={"help": "such as cpu or cuda:0; default: the best there is"})

    def __post_init__(self):
        if not self.output.lower().endswith(".csv"):
            raise ValueError(f"--output must end in .csv, got {self.output!r}")
        if self.top < 1:
            raise ValueError(f"--top must be at least 1, got {self.top}")
        if (self.like is None) == (self.model is None):
            raise ValueError("give either --like IDS.txt, or --model with --type, --disagree or --uncertain")
        if self.model and not (self.type or self.disagree or self.uncertain):
            raise ValueError("--model needs one of --type, --disagree, --uncertain")
        if self.like and (self.type or self.disagree or self.uncertain):
            raise ValueError("--type, --disagree and --uncertain need --model; with --like say --tag")
        for name in ("tag", "like_dataset") if self.model else ("revision",):
            if getattr(self, name):
                raise ValueError(f"--{name} is for {'--like' if self.model else '--model'}; leave one out")
        if self.disagree and self.uncertain:
            raise ValueError("give one of --disagree and --uncertain")


def main() -> None:
    (args,) = parse_flags(FindArguments, description=__doc__)
    from geograph_types.search.finding import all_ids, find
    from geograph_types.search.writing import write_csv, write_page

    known = all_ids(args.exclude) if args.exclude else None
    scorer, dim, known, heading, score_name = by_likeness(args, known) if args.like else by_model(args, known)
    found, counts = find(args.input, scorer, dim, args.top, known)
    output = Path(args.output)
    write_csv(found, output)
    write_page(found, output.with_suffix(".html"), heading, score_name)
    if counts.bad:
        say(f"{counts.bad:,} rows could not be used (no vector of {dim} numbers, or no photo's number)")
    left_out = f", {counts.excluded:,} of them not wanted" if counts.excluded else ""
    print(f"{len(found):,} of {counts.rows:,} rows{left_out}: {output}, {output.with_suffix('.html')}")


def by_likeness(args: FindArguments, known):
    """The cosine to the nearest of the given photos, which are themselves not wanted."""
    import numpy as np

    from geograph_types.search.finding import vectors_of
    from geograph_types.search.rows import width_of
    from geograph_types.search.scoring import Likeness
    from names_geograph import EMBEDDING_DIM, TAGS

    if args.tag is not None and args.tag not in TAGS:
        raise CommandError(f"--tag must be one of {', '.join(TAGS)}, got {args.tag!r}")
    ids = read_ids(Path(args.like))
    dim = width_of(args.input[0]) or EMBEDDING_DIM
    near = vectors_of(ids, [args.like_dataset] if args.like_dataset else args.input, dim)
    known = ids if known is None else np.union1d(ids, known)
    heading = f"Photos like {len(ids)} given ones" + (f": {args.tag}?" if args.tag else "")
    return Likeness(near, args.tag), dim, known, heading, "Likeness"


def by_model(args: FindArguments, known):
    """The model's probability of a type, its disagreement with the tags, or its uncertainty."""
    from geograph_types.hub.models import load_head
    from geograph_types.search.scoring import Disagreement, Probability, Uncertainty
    from names_geograph import class_of

    model = load_head(args.model, args.revision, args.device)
    classes = model.config.classes
    name = class_of(args.type, classes) if args.type else None
    if args.type and name is None:
        raise CommandError(f"--type must be one of the model's classes ({', '.join(classes)}), got {args.type!r}")
    column = classes.index(name) if name else None
    about = f" about {args.type}" if args.type else ""
    if args.disagree:
        scorer, heading, score_name = Disagreement(model, column), f"Model and tags disagree{about}", "Apart"
    elif args.uncertain:
        scorer, heading, score_name = Uncertainty(model, column), f"The model is uncertain{about}", "Uncertainty"
    else:
        scorer, heading, score_name = Probability(model, column), f"{args.type}?", "Probability"
    return scorer, model.config.embedding_dim, known, heading, score_name


def read_ids(path: Path):
    """Photos' numbers, one a line; what follows a comma, a blank or # does not count. Sorted, each once."""
    import numpy as np

    from row_geograph import parse_id

    ids = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if words := line.partition("#")[0].replace(",", " ").split():
            try:
                ids.append(parse_id(words[0]))
            except ValueError as error:
                if number > 1:  # the first may be a table's head
                    raise CommandError(f"{path}, line {number}: {error}") from None
    if not ids:
        raise CommandError(f"{path}: no photo's number in it; expected one a line")
    return np.unique(np.array(ids, np.int64))


if __name__ == "__main__":
    run(main)
