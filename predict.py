"""The types of photos, or of rows with ready embeddings, in bulk.

    python predict.py --model geograph-type-classifier --input photos/ --output answers.csv

The input is a folder of photos; a CSV, Parquet or JSONL of `path` and any of distance, subject, viewpoint, latitude,
longitude; rows with vectors, JSONL, CSV or Parquet; a folder that prepare_dataset.py made; or several of one kind,
patterns too. The output ends in .parquet, .jsonl or .csv; its rows come in the order of the input. What cannot be done
gets its `error`, the rest go on. Stopped, and started again with the same command, it goes on where it was: what is
done so far lies in OUTPUT.partial/ until all is.
"""

from typing import Any

from geograph_types.cli import CommandError, parse_flags, run, say
from geograph_types.prediction.arguments import PredictArguments


def main() -> None:
    (args,) = parse_flags(PredictArguments, description=__doc__)
    asked = read_input(args)
    model = load_model(args)
    rows, errors = predict(args, asked, model)
    failed = f"; {errors:,} of them could not be done, the column `error` says why" if errors else ""
    say(f"{args.output}: {rows:,} {asked.unit}s{failed}")


def read_input(args: PredictArguments) -> Any:
    """What is asked; it must not be what is written."""
    if args.engine == "ray":
        from geograph_types.prediction.units import open_everywhere

        return open_everywhere(args.input, args.dataset_config)
    from geograph_types.prediction.inputs import open_input
    from geograph_types.prediction.outputs import check_output, parse_shard

    asked = open_input(args.input, args.dataset_config, parse_shard(args.shard))
    check_output(args.output, asked)
    return asked


def load_model(args: PredictArguments) -> Any:
    from geograph_types.hub import models

    # Ray's workers get the model as a folder, which only the whole model can write.
    load = models.load_model if args.engine == "ray" else models.load_head
    return load(args.model, args.revision, args.device)


def predict(args: PredictArguments, asked: Any, model: Any) -> tuple[int, int]:
    """Answers the input into the output; gives the counts of rows and of errors."""
    from files_geograph import passed_over
    from geograph_types.prediction import answering, outputs
    from geograph_types.prediction.answers import AnswerFile
    from geograph_types.prediction.parts import Options
    from places_geograph import as_point

    size = args.batch_size or (answering.DEFAULT_PHOTOS if asked.of_photos else answering.DEFAULT_ROWS)
    predictor = answering.Predictor(model, None, args.threshold, size, args.write_embeddings)
    flags = ("write_embeddings", "threshold", "device", "dtype", "site_thumbnail", "subject", "allow_urls")
    identity = asked.identity() | {"model": answering.identity_of_model(model), "batch_size": size}
    identity |= {name: getattr(args, name) for name in flags}
    if asked.of_photos:
        options = (args.vision_model, args.dtype, args.site_thumbnail, args.allow_urls)
        predictor.tower = answering.load_tower(model, *options)
        identity["vision tower"] = answering.identity_of_tower(model, args.vision_model)
        if asked.passed_over:
            say(f"{asked.name}: passed over {passed_over(asked.passed_over)}")
    elif unused := [name for name in ("subject", "site_thumbnail") if getattr(args, name)]:
        raise CommandError(f"{asked.name}: rows with vectors, and --{unused[0]} is for photos; leave it out")
    options = Options(model.config.embedding_dim, as_point(args.subject), args.allow_urls)
    if args.engine == "ray":
        from geograph_types.prediction.ray_engine import Settings, answer_with_ray

        return answer_with_ray(model, Settings.of(predictor, asked, options, args), identity, args.ray_address)
    with AnswerFile(
        outputs.shard_name(args.output, asked.shard), asked.key, model.config.classes, identity,
        embeddings=args.write_embeddings, byte_order_mark=args.excel,
    ) as file:  # fmt: skip
        answering.answer_input(asked, predictor, file, options)
        answering.put_in_place(file, asked.name, asked.shard[1] > 1)
    if asked.shard[1] > 1:
        outputs.note_shard(args.output, asked.shard, {"rows": file.rows, "errors": file.errors}, identity)
    return file.rows, file.errors


if __name__ == "__main__":
    run(main)
