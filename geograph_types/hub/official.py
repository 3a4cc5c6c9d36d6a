"""The official checkpoints: where they are, what their bytes must be, and the results that were published."""

from pathlib import Path

from geograph_types.files import sha256_of

# The official repository at one commit, and what its files must be (SHA-256).
REPOSITORY = "geograph-project/geograph-type-classifier"
COMMIT = "7b8596bfc0f1d9d52d4103028d0a06b4e6101eec"
PAGE = f"https://github.com/{REPOSITORY}"
VERSIONS = {
    "v1": "928da284edceafd47f2c9350dd4a518690a1d7b1575aefdb3fb9031c2568e806",
    "v2": "b3358b9f70b1610c9f94635c85c6fc8de1b1589b609c2d8e1c9def89a4c9005a",
    "v2.1": "39b913e7d7bcc8e607d1154e77d20045bff083ffe811922e4e5a7238b06806a0",
    "v2.3": "e720cc96f844980918c2e6b6cbef52e549a137b128d03d7317efe2dfc17f6dd3",
}
ADDRESS = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}/best_geograph_model_{{version}}.pth"

# What the official repository says of them; nothing here was measured by this project.
RESULTS = {
    "v1": """On its own test split (12,243 of 121,930 rows): micro F1 **.92**, macro F1 **.78**; validation loss .0685.

| class | F1 |
| --- | ---: |
| Aerial | .98 |
| Close Look | .83 |
| Cross Far | .95 |
| Extra | .79 |
| Geograph | .95 |
| Inside | .96 |
| From Drone | .00 (6 photos) |

It leans on the distance: that Cross Far figure is one of far distances rather than of pictures.""",
    "v2.3": """The best of the official ones. It learnt from about 430,000 rows with the distance hidden in 30 % of
them and scrambled in the other Cross Far rows, and reaches an F1 of **.85** on Cross Far, learnt from the picture.""",
}
NO_RESULTS = "None were published for this version; v2.3 is the one that the official repository recommends."


def known_version(path: Path) -> str | None:
    """The official version whose bytes these are; None for a file of someone's own, or none."""
    if not path.is_file():
        return None
    digest = sha256_of(path)
    return next((version for version, known in VERSIONS.items() if known == digest), None)


def origin_of(name: str, version: str | None, epoch: object) -> str:
    """Where a converted model comes from, as its card says."""
    what = f"the official {version}" if version else f"`{name}`, a checkpoint in the official format"
    since = f" (epoch {epoch})" if isinstance(epoch, int) else ""
    where = f" of [{REPOSITORY}]({PAGE}/tree/{COMMIT})" if version else ""
    return (
        f"Converted, bit for bit, from {what}{since}{where}, by `convert_checkpoint.py`. Thresholds are 0.5, as none "
        "were published with it; the official inference script sends types above 0.2."
    )


def published_results(version: str | None) -> str | None:
    """The results that came with an official version; None for a model of someone's own."""
    return None if version is None else RESULTS.get(version, NO_RESULTS)
