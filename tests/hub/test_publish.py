"""`publish.py` against a Hub on loopback: one commit, nothing twice, nothing half, one clear line for each fault."""

import shutil

import huggingface_hub
import pytest
from packaging import version

from tests.support.hub_repos import File
from tests.support.hub_server import HubServer
from tests.support.publishing import Publisher, hub_environment, write_dataset

OTHER = "hf_other"


@pytest.fixture(scope="module")
def server():
    with HubServer({"hf_test": "user", OTHER: "other"}) as server:
        yield server


@pytest.fixture(scope="module")
def publish(server, tmp_path_factory):
    with Publisher(hub_environment(server.url, tmp_path_factory.mktemp("home"))) as publisher:
        yield publisher


@pytest.fixture
def hub(server):
    """The same Hub for all, empty for each."""
    server.repos.clear()
    server.objects.clear()
    server.requests.clear()
    server.faults.clear()
    return server


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("made") / "geograph-types")


@pytest.fixture
def dataset(made, tmp_path):
    return shutil.copytree(made, tmp_path / "geograph-types")


def to(repo_id: str, folder) -> tuple:
    return ("dataset", "--path", folder, "--repo_id", repo_id)


def test_published_twice_is_published_once(hub, publish, dataset):
    first, second = (publish(*to("user/data", dataset), "--tag", "v1.0") for _ in range(2))
    assert (first.status, second.status) == (0, 0)
    assert first.out == second.out == f"{hub.url}/datasets/user/data\n"
    assert "nothing to send" in second.err
    repo = hub.repos["datasets", "user/data"]
    assert len(repo.messages) == 2  # the Hub's own, when it made the repository, and ours
    assert repo.messages[1].startswith("Geograph types dataset, made with geograph-type-classifier 2.0.0")
    assert hub.asked("POST", "/commit/") == 1
    assert hub.asked("PUT", "/lfs-upload/") == 3
    assert repo.refs["refs/tags/v1.0"] == repo.refs["refs/heads/main"]
    expected = {path.relative_to(dataset).as_posix(): path.read_bytes() for path in dataset.rglob("*.*")}
    del expected["rejected.jsonl"]
    assert {path: file.content for path, file in repo.files.items() if path != ".gitattributes"} == expected
    assert repo.files["small/train-00000-of-00001.parquet"].lfs


def test_a_new_version_mirrors_the_folder(hub, publish, dataset):
    assert publish(*to("user/data", dataset), "--tag", "v1.0").status == 0
    repo = hub.repos["datasets", "user/data"]
    repo.commit(repo.files | {"data/train.csv": File(b"an older layout", False)}, "by hand")
    (dataset / "README.md").write_text((dataset / "README.md").read_text() + "More to say.\n")
    refused = publish(*to("user/data", dataset), "--tag", "v1.0")
    assert refused.status == 1 and "'v1.0' names another version" in refused.err and refused.err.count("\n") == 1
    assert len(repo.messages) == 3, "a tag that cannot be set is found before anything is sent"
    done = publish(*to("user/data", dataset), "--tag", "v1.1", "--message", "New")
    assert done.status == 0 and "removed data/train.csv" in done.err
    assert repo.messages[-1] == "New" and len(repo.messages) == 4
    assert "data/train.csv" not in repo.files and ".gitattributes" in repo.files
    assert repo.files["README.md"].content.endswith(b"More to say.\n")
    assert hub.asked("PUT", "/lfs-upload/") == 3, "what is there already is not sent again"
    assert repo.refs["refs/tags/v1.0"] != repo.refs["refs/tags/v1.1"] == repo.refs["refs/heads/main"]


def test_dry_run_sends_nothing(hub, publish, dataset):
    answer = publish(*to("user/data", dataset), "--dry_run")
    assert answer.status == 0 and "nothing was sent" in answer.err
    size = (dataset / "README.md").stat().st_size
    assert f"added {size:>15,}  README.md\n" in answer.out and "rejected" not in answer.out
    assert {method for method, _ in hub.requests} == {"GET"} and not hub.repos


def test_private(hub, publish, made):
    assert publish(*to("user/hidden", made), "--private").status == 0
    assert hub.repos["datasets", "user/hidden"].private
    assert publish(*to("user/open", made)).status == 0
    assert not hub.repos["datasets", "user/open"].private
    answer = publish(*to("user/open", made), "--private")
    assert answer.status == 1 and "user/open is public" in answer.err


def test_a_pull_request_leaves_the_repository_as_it_is(hub, publish, made, dataset):
    assert publish(*to("user/data", made)).status == 0
    (dataset / "notes.md").write_text("new in this version\n")
    answer = publish(*to("user/data", dataset), "--create_pr", HF_TOKEN=OTHER)
    assert answer.status == 0 and answer.out == f"{hub.url}/datasets/user/data/discussions/1\n"
    repo = hub.repos["datasets", "user/data"]
    assert "notes.md" not in repo.files and "notes.md" in repo.commits[repo.refs["refs/pr/1"]]


@pytest.mark.parametrize(
    "method, path, status, says",
    [
        ("POST", "/commit/", 401, "does not accept the token (401: told by the Hub)"),
        ("POST", "/commit/", 403, "no right to write there (403: told by the Hub)"),
        ("POST", "/commit/", 409, "changed while this ran"),
        ("POST", "/commit/", 500, "fault of its own (500: told by the Hub)"),
        ("POST", "/commit/", None, "no connection to"),
        ("POST", "/repos/create", 500, "fault of its own (500: told by the Hub)"),
        ("POST", "/preupload/", 429, "asks for a pause (429: told by the Hub)"),
        ("POST", "/validate-yaml", 400, "told by the Hub"),
        ("PUT", "/lfs-upload/", 403, "no right to write there (403: told by the Hub)"),
        ("PUT", "/lfs-upload/", 500, "fault of its own (500: told by the Hub)"),
        ("PUT", "/lfs-upload/", None, "no connection to"),
        ("GET", "/tree/", None, "no connection to"),
    ],
)
def test_each_fault_is_one_clear_line_and_nothing_is_half_published(hub, publish, made, method, path, status, says):
    hub.fail(method, path, status, "told by the Hub")
    answer = publish(*to("user/data", made))
    assert answer.status == 1 and answer.out == ""
    assert answer.err.startswith("publish.py: error: user/data: ") and answer.err.count("\n") == 1, answer.err
    assert says in answer.err and "nothing was published" in answer.err, answer.err
    repo = hub.repos.get(("datasets", "user/data"))
    assert repo is None or list(repo.files) == [".gitattributes"]
    hub.faults.clear()
    assert publish(*to("user/data", made)).status == 0, "the same command again does it"


def test_a_short_fault_is_outlived(hub, publish, made):
    if version.parse(huggingface_hub.__version__).release < (1, 6):
        pytest.skip("huggingface_hub 1.5 does not send anew what was cut off")
    hub.fail("PUT", "/lfs-upload/", None, times=2)
    assert publish(*to("user/data", made)).status == 0
    assert len(hub.repos["datasets", "user/data"].files) == 5


@pytest.mark.parametrize(
    "repo_id, token, says",
    [
        ("other/data", "hf_test", "no right to write there (403"),
        ("user/data", "hf_wrong", "does not accept the token (401"),
        ("user/data", "", "no Hub token: run `hf auth login`"),
    ],
)
def test_who_may_not_publish_is_told_so(hub, publish, made, repo_id, token, says):
    answer = publish(*to(repo_id, made), HF_TOKEN=token)
    assert answer.status == 1 and says in answer.err and answer.err.count("\n") == 1
    assert not hub.repos


def test_no_network_is_one_clear_line(made, tmp_path):
    with HubServer() as gone:
        pass  # its port is closed again
    with Publisher(hub_environment(gone.url, tmp_path)) as publish:
        answer = publish(*to("user/data", made))
        assert answer.status == 1 and answer.err.count("\n") == 1
        assert f"no connection to {gone.url}" in answer.err and "nothing was published" in answer.err
        answer = publish(*to("user/data", made), "--dry_run")
        assert answer.status == 0 and "README.md" in answer.out, "a dry run needs no Hub"


def test_a_tag_that_could_not_be_set_is_set_by_the_next_run(hub, publish, made):
    hub.fail("POST", "/tag/", 500, times=1)
    answer = publish(*to("user/data", made), "--tag", "v1")
    assert answer.status == 1 and "the files are published but 'v1' is not set" in answer.err
    assert publish(*to("user/data", made), "--tag", "v1").status == 0
    assert hub.asked("POST", "/commit/") == 1
    assert "refs/tags/v1" in hub.repos["datasets", "user/data"].refs


@pytest.mark.parametrize(
    "arguments, says",
    [
        ("data --path x --repo_id user/x", "invalid choice"),
        ("dataset --path x --repo_id no-user", "USER/NAME"),
        ("dataset --path x --repo_id user/-x", "cannot be a repository's name"),
        ("dataset --path x", "--repo_id"),
        ("dataset --repo_id user/x", "which folder?"),
        ("model --path x --model_id user/m --repo_id user/x", "--model_id is for a Space"),
        ("space --repo_id user/x", "either --path or --model_id"),
        ("dataset --path x --repo_id user/x --tag v1 --create_pr", "leave one of them out"),
    ],
)
def test_wrong_usage_is_status_2(publish, arguments, says):
    answer = publish(*arguments.split())
    assert answer.status == 2 and says in answer.err


def test_an_absent_or_empty_folder(publish, tmp_path):
    for folder, says in ((tmp_path / "absent", "no such folder"), (tmp_path, "nothing to publish in it")):
        answer = publish(*to("user/x", folder))
        assert answer.status == 1 and answer.err == f"publish.py: error: {folder}: {says}\n"
