"""Works for a labelling service, as the official script does: asks for photos, answers, posts their labels.

    python label.py --model geograph-type-classifier --url "https://HOST/labeler.json.php?model=types" --batches 2
    python label.py --model geograph-type-classifier --url "https://HOST/labeler.json.php?model=types" --submit

Without --submit nothing is posted: --output then shows what would be. With it the labels are written to the service's
live data: agree with whoever runs it first. Stopped in any way, and started again with the same --output, it goes on;
what was taken is never posted twice. docs/workflow.md says how.
"""

import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

from geograph_types.cli import CommandError, parse_flags, run, say

WORKERS = 32  # the protocol's numbers, one a worker
# Seconds that a stopped command may take to post what it has answered and to hear what the service says.
PATIENCE = 120


@dataclass
class LabelArguments:
    model: str = field(metadata={"help": "model folder, or Hub id"})
    url: str = field(metadata={"help": "the service's address, as its owner gave it to you; there is no default"})
    worker: int | None = field(default=None, metadata={"help": "0 to 31, one a worker; default: by host and --output"})
    limit: int = field(default=500, metadata={"help": "photos a list"})
    batches: int | None = field(default=None, metadata={"help": "end after so many lists; default: no more photos"})
    threshold: float = field(default=0.2, metadata={"help": "a class whose score is above is posted"})
    score: str = field(
        default="probability",
        metadata={"help": "probability, or decision: shifted so that each class's own threshold stands at 0.5"},
    )
    output: str = field(default="labels.jsonl", metadata={"help": "the log of every list; its journal lies beside it"})
    submit: bool = field(default=False, metadata={"help": "post the labels; without it nothing is posted"})
    submit_embeddings: bool = field(default=False, metadata={"help": "post the vectors, too, that were made here"})
    post_doubtful: bool = field(
        default=False, metadata={"help": "post lists again whose answer was lost; they may be there twice then"}
    )
    empty_answers: int = field(default=3, metadata={"help": "answers without new photos that end it; 0: none does"})
    timeout: float = field(default=30.0, metadata={"help": "seconds to wait for an answer of the service"})
    vision_model: str | None = field(default=None, metadata={"help": "CLIP tower for photos; default: the model's"})
    revision: str | None = field(default=None, metadata={"help": "of a model on the Hub: a commit or tag"})
    device: str | None = field(default=None, metadata={"help": "such as cpu or cuda:0; default: the best there is"})

    def __post_init__(self):
        from geograph_types.labelling.service import check_address

        check_address(self.url)
        if self.worker is not None and not 0 <= self.worker < WORKERS:
            raise ValueError(f"--worker must be 0 to {WORKERS - 1}, got {self.worker}")
        for name, least in (("limit", 1), ("batches", 1), ("empty_answers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} must be at least {least}, got {value}")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"--threshold must be at least 0 and below 1, got {self.threshold}")
        if self.score not in ("probability", "decision"):
            raise ValueError(f"--score must be probability or decision, got {self.score!r}")
        if not self.timeout > 0:
            raise ValueError(f"--timeout must be above 0, got {self.timeout}")


def main() -> None:
    (args,) = parse_flags(LabelArguments, description=__doc__)
    stop = threading.Event()
    end_on_signals(stop)
    from geograph_types.hub.models import load_head
    from geograph_types.labelling.photos import Photos
    from geograph_types.labelling.posting import Posting
    from geograph_types.labelling.service import Service
    from geograph_types.labelling.worker import Rules, Worker

    worker = worker_of(Path(args.output)) if args.worker is None else args.worker
    service = Service(args.url, worker, args.limit, args.timeout, stop)
    with Posting(service, Path(args.output), args.submit) as posting:
        model = load_head(args.model, args.revision, args.device)
        say(f"worker {worker} {'posts to' if args.submit else 'asks, and posts nothing to'} {service.name}")
        posting.put_kept(args.post_doubtful)
        rules = Rules(args.threshold, args.score, args.submit_embeddings, args.batches, args.empty_answers)
        photos = Photos(lambda: tower(model, args.vision_model), stop)
        totals = Worker(model, service, posting, photos, rules).run()
        report(args, totals, posting)


def end_on_signals(stop: threading.Event) -> None:
    """Ctrl-C and SIGTERM: what is answered is posted, then the end; a second one ends at once."""

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for heard in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(heard) is not signal.SIG_IGN:  # as `nohup` and jobs in the background have it
            signal.signal(heard, handle)


def worker_of(output: Path) -> int:
    """A number that stays the same for this machine and output, and differs from most others'."""
    import hashlib
    import socket

    name = f"{socket.gethostname()}:{output.resolve()}"
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % WORKERS


def tower(model, vision_model: str | None):
    """The encoder, for the first photo that comes without a vector."""
    from encoder_geograph import GeographEncoder

    return GeographEncoder.for_config(model.config, vision_model, device=model.device)


def report(args: LabelArguments, totals, posting) -> None:
    """What was done; a failure where lists had to be kept."""
    done = f"{args.output}: {totals.photos:,} photos in {totals.lists:,} lists"
    done += f", {totals.failed:,} of them could not be done" if totals.failed else ""
    done += f"; {totals.unnamed:,} rows had no number" if totals.unnamed else ""
    if not args.submit:
        return print(f"{done}; nothing was posted (--submit does)")
    print(f"{done}; posted and taken: {posting.taken:,} lists")
    states = posting.journal.counts()
    if doubtful := states.get("doubtful", 0):
        say(f"{doubtful:,} lists whose answer was lost are in the journal; docs/workflow.md says what becomes of them")
    if kept := states.get("ready", 0):
        raise CommandError(f"{kept:,} lists are kept beside {args.output}; the next start with --submit posts them")


if __name__ == "__main__":
    run(main, PATIENCE)
