"""How the tests are shared out among processes: what needs the same costly thing together, the slowest first."""

from xdist.scheduler import LoadScopeScheduling

# Files that share what is costly to make: a Hub with all that is published, a running Space.
TOGETHER = {
    "tests/hub/test_end_to_end.py": "published",
    "tests/test_docs_code.py": "published",
    "tests/space/test_api.py": "space",
    "tests/space/test_page.py": "space",
    "tests/space/test_stopped.py": "space",
}
# By the processor's time that they took. The small ones come last, so that the processes end together.
SLOWEST = (
    "published",
    "space",
    "tests/test_ray.py",
    "tests/hub/test_checks.py",
    "tests/model/test_modeling.py",
    "tests/model/test_encoder.py",
    "tests/test_installing.py",
    "tests/prediction/test_predict.py",
    "tests/model/test_pipeline.py",
    "tests/training/test_two_processes.py",
    "tests/training/test_from_python.py",
    "tests/dataset/test_prepare_dataset.py",
    "tests/training/test_label_noise.py",
    "tests/training/test_train.py",
    "tests/test_other_shapes.py",
    "tests/test_cli.py",
    "tests/test_kills.py",
    "tests/test_commands.py",
    "tests/evaluation/test_evaluate_model.py",
)


def share_of(nodeid: str) -> str:
    file = nodeid.split("::", 1)[0]
    return TOGETHER.get(file, file)


def slowest_first(items: list) -> None:
    """Sorts tests in place; those of one share stay in their order."""
    rank = {share: place for place, share in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(share_of(item.nodeid), len(SLOWEST)))


class Shares(LoadScopeScheduling):
    """One share is done by one process."""

    def __init__(self, config, log=None):
        config.option.loadscopereorder = False  # by the number of tests, which says little
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
