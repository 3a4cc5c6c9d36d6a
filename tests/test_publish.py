"""`publish.py` against a Hub on loopback: one commit, nothing twice, nothing half, one clear line for each fault."""

import shutil

import pytest
from hub_server import HubServer
from publishing import hub_environment, publish_all, write_dataset

DATA = ("datasets", "user/geograph-types")


@pytest.fixture
def hub():
    with HubServer({"hf_test": "user", "hf_other": "other"}) as server:
        yield server


@pytest.fixture
def environment(hub, tmp_path):
    (tmp_path / "home").mkdir()
    return hub_environment(hub.url, tmp_path / "home")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("made") / "geograph-types")


@pytest.fixture
def dataset(made, tmp_path):
    return shutil.copytree(made, tmp_path / "geograph-types")


def command(folder, repo_id="user/geograph-types", *more):
    return ["dataset", "--path", folder, "--repo_id", repo_id, *more]


def test_published_twice_is_published_once(hub, environment, dataset):
    first, second = publish_all([command(dataset, DATA[1], "--tag", "v1.0")] * 2, environment)
    assert (first.status, second.status) == (0, 0)
    assert first.out == second.out == f"{hub.url}/datasets/user/geograph-types\n"
    assert "nothing to send" in second.err
    repo = hub.repos[DATA]
    assert len(repo.messages) == 2  # the Hub's own, when it made the repository, and ours
    assert repo.messages[1].startswith("Geograph types dataset, made with geograph-type-classifier 1.0.0")
    assert hub.asked("POST", "/commit/") == 1
    assert hub.asked("PUT", "/lfs-upload/") == 3
    assert repo.refs["refs/tags/v1.0"] == repo.refs["refs/heads/main"]
    expected = {path.relative_to(dataset).as_posix(): path.read_bytes() for path in dataset.rglob("*.*")}
    del expected["rejected.jsonl"]
    assert {path: file.content for path, file in repo.files.items() if path != ".gitattributes"} == expected
    assert repo.files["small/train-00000-of-00001.parquet"].lfs


def test_a_new_version_mirrors_the_folder(hub, environment, dataset):
    [first] = publish_all([command(dataset, DATA[1], "--tag", "v1.0")], environment)
    repo = hub.repos[DATA]
    from hub_repos import File

    repo.commit(repo.files | {"data/train.csv": File(b"an older layout", False)}, "by hand")
    (dataset / "README.md").write_text((dataset / "README.md").read_text() + "More to say.\n")
    refused, done = publish_all(
        [command(dataset, DATA[1], "--tag", "v1.0"), command(dataset, DATA[1], "--tag", "v1.1", "--message", "New")],
        environment,
    )
    assert first.status == 0
    assert refused.status == 1 and "'v1.0' names another version" in refused.err and refused.err.count("\n") == 1
    assert done.status == 0 and "removed data/train.csv" in done.err
    assert repo.messages[-1] == "New" and len(repo.messages) == 4
    assert "data/train.csv" not in repo.files and ".gitattributes" in repo.files
    assert repo.files["README.md"].content.endswith(b"More to say.\n")
    assert hub.asked("PUT", "/lfs-upload/") == 3, "what is there already is not sent again"
    assert repo.refs["refs/tags/v1.0"] != repo.refs["refs/tags/v1.1"] == repo.refs["refs/heads/main"]


def test_dry_run_sends_nothing(hub, environment, dataset):
    [answer] = publish_all([command(dataset, DATA[1], "--dry_run")], environment)
    assert answer.status == 0 and "nothing was sent" in answer.err
    size = (dataset / "README.md").stat().st_size
    assert f"added {size:>15,}  README.md\n" in answer.out and "rejected" not in answer.out
    assert {method for method, _ in hub.requests} == {"GET"} and not hub.repos


def test_private_and_pull_request(hub, environment, dataset):
    public, private = "user/public", "user/private"
    (dataset / "notes.md").write_text("new in this version\n")
    made, hidden, unsafe, proposed = publish_all(
        [
            command(dataset, public),
            command(dataset, private, "--private"),
            command(dataset, public, "--private"),
            ({"HF_TOKEN": "hf_other"}, command(write_dataset(dataset.parent / "b", 7), public, "--create_pr")),
        ],
        environment,
    )
    assert [a.status for a in (made, hidden, unsafe, proposed)] == [0, 0, 1, 0]
    assert hub.repos["datasets", private].private and not hub.repos["datasets", public].private
    assert "user/public is public" in unsafe.err
    repo = hub.repos["datasets", public]
    assert "proposed" in proposed.err and proposed.out == f"{hub.url}/datasets/user/public/discussions/1\n"
    assert "notes.md" in repo.files and "notes.md" not in repo.commits[repo.refs["refs/pr/1"]]


FAULTS = {
    # what goes wrong → (how the server does it, what the one line says)
    "401": (("POST", "/commit/", 401), "does not accept the token (401"),
    "403": (("POST", "/commit/", 403), "no right to write there (403"),
    "409": (("POST", "/commit/", 409), "changed while this ran"),
    "500": (("POST", "/commit/", 500), "fault of its own (500"),
    "429": (("POST", "/preupload/", 429), "asks for a pause (429"),
    "507": (("PUT", "/lfs-upload/", 507), "fault of its own (507"),
    "cut-upload": (("PUT", "/lfs-upload/", None), "no connection to"),
    "cut-commit": (("POST", "/commit/", None), "no connection to"),
    "cut-tree": (("GET", "/tree/", None), "no connection to"),
}


def test_each_fault_is_one_clear_line_and_nothing_is_half_published(hub, environment, made):
    for name, ((method, path, status), _) in FAULTS.items():
        if "lfs-upload" in path:
            hub.fail(method, f"{path}datasets/user/{name}/", status, "told by the Hub")
        else:
            hub.fail(method, f"/user/{name}{path}", status, "told by the Hub")
    hub.fail("PUT", "/lfs-upload/datasets/user/hiccup/", None, times=2)
    commands = [command(made, f"user/{name}") for name in FAULTS]
    *faulty, hiccup, rights, wrong, none = publish_all(
        [
            *commands,
            command(made, "user/hiccup"),
            command(made, "other/geograph-types"),
            ({"HF_TOKEN": "hf_wrong"}, command(made)),
            ({"HF_TOKEN": ""}, command(made)),
        ],
        environment,
    )
    for (name, ((_, _, status), line)), answer in zip(FAULTS.items(), faulty, strict=True):
        assert answer.status == 1 and answer.out == "", name
        assert answer.err.startswith(f"publish.py: error: user/{name}: ") and answer.err.count("\n") == 1, answer.err
        assert line in answer.err and "nothing was published" in answer.err, answer.err
        assert status is None or "told by the Hub" in answer.err, "the Hub's own reason is given"
        assert list(hub.repos["datasets", f"user/{name}"].files) == [".gitattributes"]
    assert hiccup.status == 0 and len(hub.repos["datasets", "user/hiccup"].files) == 5, "short faults are outlived"
    assert rights.status == 1 and "no right to write there" in rights.err and rights.err.count("\n") == 1
    assert wrong.status == 1 and "does not accept the token" in wrong.err and wrong.err.count("\n") == 1
    assert none.status == 1 and "no Hub token" in none.err and none.err.count("\n") == 1
    assert DATA not in hub.repos


def test_no_network_is_one_clear_line(environment, made, tmp_path):
    with HubServer() as gone:
        pass  # its port is closed again
    environment |= {"HF_ENDPOINT": gone.url}
    answer, dry = publish_all([command(made), command(made, DATA[1], "--dry_run")], environment)
    assert answer.status == 1 and answer.err.count("\n") == 1
    assert f"no connection to {gone.url}" in answer.err and "nothing was published" in answer.err
    assert dry.status == 0 and "README.md" in dry.out, "a dry run needs no Hub"


def test_a_tag_that_could_not_be_set_is_set_by_the_next_run(hub, environment, made):
    hub.fail("POST", "/tag/", 500, times=1)
    first, second = publish_all([command(made, DATA[1], "--tag", "v1")] * 2, environment)
    assert first.status == 1 and "the files are published but 'v1' is not set" in first.err
    assert second.status == 0 and hub.asked("POST", "/commit/") == 1
    assert "refs/tags/v1" in hub.repos[DATA].refs


def test_wrong_usage_is_status_2(environment, made):
    answers = publish_all(
        [
            ["data", "--path", made, "--repo_id", "user/x"],
            ["dataset", "--path", made, "--repo_id", "no-user"],
            ["dataset", "--path", made],
            ["dataset", "--repo_id", "user/x"],
            ["model", "--path", made, "--model_id", "user/m", "--repo_id", "user/x"],
            ["space", "--repo_id", "user/x"],
            ["dataset", "--path", made, "--repo_id", "user/x", "--tag", "v1", "--create_pr"],
            ["dataset", "--path", made / "absent", "--repo_id", "user/x"],
        ],
        environment,
    )
    assert [answer.status for answer in answers] == [2] * 7 + [1]
    assert "USER/NAME" in answers[1].err and "no such folder" in answers[7].err
