"""What commands leave in a folder: a run's files, for starting anew, and what is never published."""

from pathlib import Path

WEIGHTS = "model.safetensors"
# What a run was begun with, and what says that it ended.
SETTINGS = "training_settings.json"
FINISHED = "train_results.json"
# Kept while a run lasts, so that going on with it does not train the fold models again.
OUT_OF_FOLD = "out_of_fold.npz"
# Rows to be looked at by a person.
NOISE_LIST = "label_noise.csv"
FOREGROUND_LIST = "foreground.csv"
LEARNING_CURVE = "learning_curve.png"
# Figures on the validation and test splits: `eval_results.json`, `test_results.json`.
RESULTS = "{}_results.json"

# In the order in which a reader would look for them; nothing else in a folder is ours.
RUN_FILES = (
    FINISHED,
    SETTINGS,
    OUT_OF_FOLD,
    WEIGHTS,
    RESULTS.format("eval"),
    RESULTS.format("test"),
    "trainer_state.json",
    "training_args.bin",
    NOISE_LIST,
    FOREGROUND_LIST,
    LEARNING_CURVE,
    "README.md",
    # evaluate_model.py, also where --update_card puts its pictures
    "metrics.json",
    "report.html",
    "report.md",
    "precision_recall.png",
    "reliability.png",
    "confusion.png",
    "by_distance.png",
    "distance_reliance.png",
)
CHECKPOINTS = "checkpoint-*"

# Never published; a trailing / means a folder. What a run needs only while it lasts:
OF_A_RUN = (
    f"{CHECKPOINTS}/",
    "runs/",
    "wandb/",
    "mlruns/",
    "__pycache__/",
    SETTINGS,
    OUT_OF_FOLD,
    "rejected.jsonl",
    "training_args.bin",
    "optimizer.*",
    "scheduler.*",
    "scaler.*",
    "rng_state*",
)
# what editors, file managers and browsers leave,
_BACKUPS = (
    "*~", "#*#", "*.bak", "*.bak[0-9]", "*.backup", "*.orig", "*.rej", "*.old", "*.swp", "*.swo", "*.tmp", "*.temp",
    "*.save", "*.autosave", "*.part", "*.partial", "*.partial/", "*.crdownload", "Thumbs.db", "desktop.ini",
    "* (copy)*", "* - Copy*",
)  # fmt: skip
# and sources of rows and arrays of them, which nobody could load from a page.
_SOURCES = (
    "*.jsonl", "*.ndjson", "*.tsv", "*.gz", "*.bz2", "*.xz", "*.zst", "*.zip", "*.tar", "*.tgz", "*.7z", "*.rar",
    "*.npy", "*.npz", "*.feather", "*.arrow", "*.db", "*.sqlite", "*.sqlite3",
)  # fmt: skip
NEVER_PUBLISHED = OF_A_RUN + _BACKUPS + _SOURCES
# A dataset's page has its rows as Parquet alone; a model's has lists for people to look at.
NEVER_PUBLISHED_IN = {"dataset": ("*.csv",)}


def written_by_runs(folder: Path) -> list[Path]:
    """Those of them that lie in a folder, its checkpoints first."""
    return [*sorted(folder.glob(CHECKPOINTS)), *(path for name in RUN_FILES if (path := folder / name).is_file())]
