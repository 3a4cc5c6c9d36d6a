"""Answers on many machines, by Ray Data: a folder of Parquet parts instead of one file, each whole or not there.

Ray deals the units of `units.py` to actors that hold the model; a unit whose actor or machine died is done again, by
another. Each is written under its own name when it is whole, so a run that was stopped does what is missing.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError, progress, say
from geograph_types.files import temporary_folder
from geograph_types.prediction.inputs import Input
from geograph_types.prediction.parts import Options
from geograph_types.prediction.units import Unit, divide
from geograph_types.ray_jobs import deal

MANIFEST = "manifest.json"
# The model's files lie in the output while a run lasts: machines that are started anew find them where all can read.
MODEL = ".model"
ROW_GROUP = 65536


@dataclass(frozen=True)
class Settings:
    """What every actor needs besides its units."""

    output: str
    units: tuple[Unit, ...] = ()
    key: str = "gridimage_id"
    size: int = 4096
    options: Options | None = None
    predictor: dict[str, Any] | None = None  # threshold, batch_size, keep_embeddings
    tower: dict[str, Any] | None = None  # what `load_tower` takes; None: rows with ready vectors
    device: str | None = None
    threads: int = 1

    @classmethod
    def of(cls, predictor: Any, asked: Input, options: Options, args: Any) -> "Settings":
        """What the local engine would use, for any machine; `args` are predict.py's."""
        tower = None
        if asked.of_photos:
            names = ("vision_model", "dtype", "site_thumbnail", "allow_urls")
            tower = {name: getattr(args, name) for name in names}
        own = {name: getattr(predictor, name) for name in ("threshold", "batch_size", "keep_embeddings")}
        units = tuple(divide(asked, predictor.batch_size))
        return cls(args.output, units, asked.key, predictor.batch_size, options, own, tower, args.device)


def send_model(model: Any, output: str) -> None:
    """Puts a model's files into the output."""
    from geograph_types.hub.model_folder import save_model_repository

    system, folder = file_system(output)
    with temporary_folder("sent") as here:
        save_model_repository(model, here)
        system.makedirs(f"{folder}/{MODEL}", exist_ok=True)
        for path in here.iterdir():
            if path.is_file():
                put(path, f"{output}/{MODEL}", path.name)


class Answerer:
    """A worker: loads the model once, then answers unit after unit."""

    def __init__(self, settings: Settings):
        import torch

        from geograph_types.hub.models import load_head
        from geograph_types.prediction.answering import Predictor, load_tower

        torch.set_num_threads(settings.threads)
        self.settings = settings
        system, output = file_system(settings.output)
        with temporary_folder("ray") as folder:
            for path in system.ls(f"{output}/{MODEL}", detail=False):
                system.get_file(path, f"{folder}/{Path(path).name}")
            model = load_head(folder, None, settings.device)
        self.predictor = Predictor(model, **settings.predictor)
        if settings.tower is not None:
            self.predictor.tower = load_tower(model, **settings.tower)

    def __call__(self, number: int) -> dict[str, int]:
        unit = self.settings.units[number]
        rows = errors = 0
        with PartWriter(self.settings, unit) as write:
            for block in unit.blocks(self.settings.size, self.settings.options):
                answers = self.predictor.answers(block)
                write(answers, unit.first_row + rows)
                rows += len(answers)
                errors += int(answers.failed.sum())
        if unit.rows >= 0 and rows != unit.rows:
            raise ValueError(f"{unit.part.name}: {rows:,} rows where {unit.rows:,} were counted: it changed meanwhile")
        return {"number": unit.number, "rows": rows, "errors": errors}


class PartWriter:
    """One unit's answers as a Parquet file, with `input_row`; it appears under its name when it is whole."""

    def __init__(self, settings: Settings, unit: Unit):
        self.settings, self.unit = settings, unit
        self._folder = tempfile.TemporaryDirectory(prefix="geograph-part-")
        self._path = Path(self._folder.name) / "part.parquet"
        self._writer: Any = None

    def __enter__(self):
        return self._write

    def _write(self, answers: Any, first_row: int) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        from geograph_types.prediction.formats import schema_of, to_batch

        schema = schema_of(self.settings.key, answers.classes, answers.embedding is not None)
        batch = to_batch(answers, schema)
        numbers = pa.array(np.arange(first_row, first_row + len(batch), dtype=np.int64))
        table = pa.Table.from_batches([batch]).add_column(0, "input_row", numbers)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd", write_page_index=True)
        self._writer.write_table(table, row_group_size=ROW_GROUP)

    def __exit__(self, kind, error, trace) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is None and self._writer is not None:
            put(self._path, self.settings.output, name_of(self.unit.number))
        self._folder.cleanup()


def name_of(number: int) -> str:
    return f"part-{number:05d}.parquet"


def file_system(output: str) -> tuple[Any, str]:
    """The output's file system and its path there: a local folder, or any address that fsspec writes."""
    import fsspec

    return fsspec.core.url_to_fs(output if "://" in output else str(Path(output).absolute()))


def put(path: Path, output: str, name: str) -> None:
    """Puts a finished file into the output; there it is whole or not at all."""
    system, folder = file_system(output)
    if "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)):
        beside = Path(folder) / f".{name}.{os.getpid()}"
        shutil.copyfile(path, beside)
        beside.replace(Path(folder) / name)
    else:  # object stores show an object when all of it is there
        system.put_file(str(path), f"{folder}/{name}")


def answer_with_ray(
    model: Any, settings: Settings, identity: dict[str, Any], ray_address: str | None = None
) -> tuple[int, int]:
    """Answers all units into the folder `settings.output`; returns the rows and how many of them have errors.

    Raises:
        CommandError: no cluster at the address, an output of something else, a part that did not come.
    """
    units = settings.units
    done = begin(settings.output, identity, units)
    waiting = [unit for unit in units if unit.number not in done]
    counts = {**done}
    if done:
        say(f"{settings.output}: going on, {len(done)} of {len(units)} parts are there")
    if waiting:
        send_model(model, settings.output)
        with progress(total=sum(unit.rows for unit in units), unit="row") as bar:
            bar.update(sum(found["rows"] for found in done.values()))
            for found in deal([unit.number for unit in waiting], Answerer, settings, ray_address):
                counts[found["number"]] = {"rows": found["rows"], "errors": found["errors"]}
                bar.update(found["rows"])
                note(settings.output, identity, counts, len(units))
    missing = [name_of(unit.number) for unit in units if not there(settings.output, name_of(unit.number))]
    if missing:
        raise CommandError(
            f"{settings.output}: {missing[0]} is not there: all machines of the cluster must write to one folder; "
            "give a shared folder, or an address such as s3://BUCKET/answers"
        )
    note(settings.output, identity, counts, len(units))
    system, folder = file_system(settings.output)
    if system.exists(f"{folder}/{MODEL}"):
        system.rm(f"{folder}/{MODEL}", recursive=True)
    return sum(c["rows"] for c in counts.values()), sum(c["errors"] for c in counts.values())


def begin(output: str, identity: dict[str, Any], units: tuple[Unit, ...]) -> dict[int, dict[str, int]]:
    """Makes the folder, or looks at what an earlier run left: number → counts of the parts that are whole and wanted.

    Raises:
        CommandError: the output holds something that this command did not make.
    """
    system, folder = file_system(output)
    names = [Path(name).name for name in system.ls(folder, detail=False)] if system.exists(folder) else []
    visible = [name for name in names if not name.startswith(".")]
    if visible and MANIFEST not in visible:
        raise CommandError(f"{output}: exists and holds {visible[0]}, no answers; name another --output")
    system.makedirs(folder, exist_ok=True)
    known: dict[str, Any] = {}
    if MANIFEST in visible:
        try:
            known = json.loads(system.cat_file(f"{folder}/{MANIFEST}"))
        except ValueError:
            known = {}
    same = json.loads(json.dumps(identity))
    if visible and (known.get("made_from") != same or known.get("parts_in_all") != len(units)):
        odd = sorted(key for key in same if known.get("made_from", {}).get(key) != same[key])
        say(f"{output}: begun with another {', '.join(odd) or 'division'}; starting anew")
        known = {}
    wanted = {name_of(unit.number) for unit in units}
    done = {
        part["number"]: {"rows": part["rows"], "errors": part["errors"]}
        for part in known.get("parts", [])
        if name_of(part["number"]) in names
    }
    for name in names:  # parts of another run, and what a killed one left half copied
        is_part = name.startswith("part-") and name.endswith(".parquet")
        if name.startswith(".part-") or (is_part and (name not in wanted or int(name[5:10]) not in done)):
            system.rm_file(f"{folder}/{name}")
    note(output, identity, done, len(units))
    return done


def note(output: str, identity: dict[str, Any], counts: dict[int, dict[str, int]], in_all: int) -> None:
    """The manifest: which parts are whole, with their rows and errors, and what they were made from."""
    parts = [{"number": n, "file": name_of(n), **counts[n]} for n in sorted(counts)]
    totals = {name: sum(part[name] for part in parts) for name in ("rows", "errors")}
    told = {"complete": len(parts) == in_all, "parts_in_all": in_all, **totals, "parts": parts, "made_from": identity}
    with temporary_folder("manifest") as folder:
        path = folder / MANIFEST
        path.write_text(json.dumps(told, indent=2) + "\n")
        put(path, output, MANIFEST)


def there(output: str, name: str) -> bool:
    system, folder = file_system(output)
    return system.exists(f"{folder}/{name}")
