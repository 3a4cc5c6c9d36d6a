"""Trains a classifier on a prepared dataset; the output folder is then a whole Hub repository.

    python train.py --dataset geograph-types --dataset_config small --output_dir geograph-type-classifier

Any `TrainingArguments` flag works, alone or in a file (`python train.py args.json`, or YAML); `torchrun` starts
several processes, and so does `accelerate launch` on GPUs or with MPI. The same command again goes on from the last
checkpoint; `--overwrite_output_dir` starts anew. `--recipe official-v1`, `official-v2.3` or `default` chooses the
settings.
"""

from geograph_types import cli
from geograph_types.training import processes
from geograph_types.training.arguments import parse


def main() -> None:
    """Trains, or goes on, or says that it is done."""
    processes.check_launcher()
    arguments = parse(__doc__)
    # Trainer itself would push every checkpoint, unfinished and unchecked; what is pushed is pushed once, at the end.
    push_to_hub, arguments.training.push_to_hub = arguments.training.push_to_hub, False

    from transformers.utils import logging

    from geograph_types.stopping import when_stopped
    from geograph_types.training import results, run_folder
    from geograph_types.training.checkpoints import what_is_kept
    from geograph_types.training.run import open_run

    logging.disable_progress_bar()  # a bar for each small file saved; the bar of training stays
    run = open_run(arguments)
    if run.finished:
        processes.say(f"{run.output} holds this run, finished; more --num_train_epochs go on")
        if processes.is_first():
            results.print_results(run.output)
        return
    if push_to_hub and run.config.synthetic and not arguments.data.allow_synthetic:
        raise cli.CommandError(f"{arguments.data.dataset}: synthetic rows; say --allow_synthetic, or do not push")
    if processes.is_first():
        when_stopped(lambda: what_is_kept(run.output, arguments.data.overwrite_output_dir))
    processes.by_the_first(lambda: run_folder.begin(run.output, run.settings))

    from geograph_types.training.weighting import apply_weighting

    model = run.new_model(arguments.training.seed)
    apply_weighting(run)
    trainer, figures = make_trainer(run, model)
    trained = trainer.train(resume_from_checkpoint=run.checkpoint).metrics
    if processes.is_first():
        results.write_results(run, trainer, figures, trained)
        when_stopped(lambda: f"{run.output} is finished")
        results.print_results(run.output)
        if push_to_hub:
            publish(run)
    # Several processes: the others wait for the first, and a group left open stops the program at exit.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def make_trainer(run, model):
    """The trainer of the main model, and the metric that it is judged by."""
    from geograph_types.evaluation.figures import metric_module
    from geograph_types.training import trainer as training
    from geograph_types.training.memory_rows import MemoryRows

    figures = metric_module().figures
    trainer = training.GeographTrainer(
        model=model,
        args=run.args,
        train_dataset=MemoryRows(run.train, training=True, seed=run.args.seed),
        eval_dataset=run.validation and MemoryRows(run.validation, training=False),
        compute_metrics=training.compute_metrics_with(figures, classes=run.config.classes),
        callbacks=training.callbacks_for(run.args, run.arguments.data.patience),
    )
    training.show_quiet_progress(trainer)
    return trainer, figures


def publish(run) -> None:
    """The finished folder, as one commit."""
    from geograph_types.hub.publishing import publish_folder

    publish_folder(
        run.output,
        run.args.hub_model_id or run.output.name,
        "model",
        private=bool(run.args.hub_private_repo),
        allow_synthetic=run.arguments.data.allow_synthetic,
    )


if __name__ == "__main__":
    cli.run(main)
