"""What is refused before anything is sent, each for a reason that names the file."""

import json
import pickle
import shutil
import zipfile

import pytest

from geograph_types.cli import CommandError
from geograph_types.hub import checks
from geograph_types.hub.publishing import files_to_publish
from tests.support.publishing import write_dataset, write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("made") / "geograph-types")


@pytest.fixture
def dataset(made, tmp_path):
    return shutil.copytree(made, tmp_path / "geograph-types")


def refusal(folder, kind="dataset") -> str:
    with pytest.raises(CommandError) as caught:
        checks.check(files_to_publish(folder, kind), kind, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_dataset_passes(dataset):
    checks.check(files_to_publish(dataset), "dataset", dataset)


def test_what_is_never_published(dataset):
    kept = set(files_to_publish(dataset, "dataset"))
    left = [
        "rejected.jsonl", "checkpoint-12/model.safetensors", "training_args.bin", "optimizer.pt", "rng_state_0.pth",
        "runs/x/events.out", ".git/config", ".env", "__pycache__/a.pyc", ".cache/huggingface/x", "out_of_fold.npz",
        "README.md~", "#README.md#", "README.md.bak", ".README.md.swp", "rows.jsonl", "rows.jsonl.gz", "raw/rows.zip",
        "rows.csv", "training_settings.json", ".geograph-types.json",
    ]  # fmt: skip
    for name in left:
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_bytes(b"x")
    assert set(files_to_publish(dataset, "dataset")) == kept


def test_no_pickle_by_name_or_by_content(dataset):
    (dataset / "model.pkl").write_bytes(b"anything")
    assert "model.pkl is a pickle" in refusal(dataset)
    (dataset / "model.pkl").unlink()
    (dataset / "weights.dat").write_bytes(pickle.dumps({"a": 1}))
    assert "weights.dat is a pickle" in refusal(dataset)
    with zipfile.ZipFile(dataset / "weights.dat", "w") as archive:  # as torch.save writes it
        archive.writestr("archive/data.pkl", b"x")
    assert "weights.dat is a pickle" in refusal(dataset)


@pytest.mark.parametrize(
    "text, says",
    [
        ("HF_TOKEN=hf_" + "a1B2" * 9, "a Hugging Face token"),
        ("aws = 'AKIA" + "ABCDEFGH12345678'", "an AWS key"),
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----", "a private key"),
        ("gh" + "p_" + "x" * 36, "a GitHub token"),
        ('{"output_dir": "/home/jo/models/v1"}', "names a path of this machine (/home/jo/models/v1)"),
        (r'{"output_dir": "C:\\Users\\jo\\v1"}', "names a path of this machine"),
        ("see file:///srv/data/x", "names a path of this machine"),
    ],
)
def test_no_secret_and_no_path_of_this_machine(dataset, text, says):
    (dataset / "notes.json").write_text(text)
    answer = refusal(dataset)
    assert says in answer and answer.startswith("notes.json")
    assert "a1B2a1B2" not in answer, "a secret is not repeated"


@pytest.mark.parametrize(
    "text, says",
    [
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY", "an AWS key"),
        ("DATABASE=postgres://user:pw" + "@db.example.org:5432/photos", "a password in an address"),
        ("https://example.org/rows.jsonl?token=" + "a8f5f167f44f4964", "a key in an address"),
        ('{"username": "jo", "key": "' + "0123456789abcdef" * 2 + '"}', "a Kaggle key"),
        ("Authorization: Bearer " + "abcdefgh12345678", "a login"),
        ("api_key: '" + "1a2b3c4d5e6f7a8b9c0d1e2f" + "'", "a secret"),
        ("ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlaGVyZQ", "a signed token"),
    ],
)
@pytest.mark.parametrize("name", ["run.log", "notebook.ipynb", "README.md", "LICENSE"])
def test_other_secrets_in_any_text(tmp_path, name, text, says):
    (tmp_path / name).write_text(json.dumps({"cells": [text]}) if name.endswith("ipynb") else f"so it was\n{text}\n")
    with pytest.raises(CommandError, match=f"{name} holds {says}"):
        checks.check_no_secret(name, tmp_path / name)
    (tmp_path / name).write_text(f"so it was\n{text}\n", encoding="utf-16")
    with pytest.raises(CommandError, match=f"{name} holds {says}"):
        checks.check_no_secret(name, tmp_path / name)


def test_paths_in_what_programs_wrote_and_in_prose(tmp_path):
    def answer(name: str, text: str) -> str | None:
        (tmp_path / name).write_text(text)
        try:
            checks.check_no_secret(name, tmp_path / name)
        except CommandError as error:
            return str(error)
        return None

    for name in ("run.log", "notebook.ipynb", "notes.json", "LISTING"):
        assert "names a path of this machine (/tmp/report" in answer(name, "saved in /tmp/report")
    assert (
        answer("README.md", "`predict.py --output /tmp/answers.csv`, or a folder such as /data/out, /home/user/x")
        is None
    )
    assert "(/home/jo/out)" in answer("README.md", "It was trained into /home/jo/out.".replace("out.", "out"))


def test_no_pickle_in_any_dress(dataset):
    import gzip
    import io
    import zlib

    import numpy as np

    evil = pickle.dumps({"a": [1, "b"]}, protocol=0)
    objects, archive = io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([{"a": 1}], dtype=object))
    np.savez(archive, a=np.array([{"a": 1}], dtype=object))
    dresses = (evil, pickle.dumps(1, protocol=1), b"cos\nsystem\n(S'ls'\ntR.", objects.getvalue(), archive.getvalue(),
               zlib.compress(evil), gzip.compress(pickle.dumps([1])))  # fmt: skip
    for content in dresses:
        (dataset / "figures.dat").write_bytes(content)
        assert "figures.dat is a pickle" in refusal(dataset), content[:40]
    numbers = io.BytesIO()
    np.savez(numbers, a=np.arange(3))
    for content in (numbers.getvalue(), b"(a) see below.\n", b"I am text.", b".", b"", gzip.compress(b"I am text.")):
        (dataset / "figures.dat").write_bytes(content)
        checks.check_no_pickle("figures.dat", dataset / "figures.dat")


def test_links_out_of_the_folder_are_refused(dataset, tmp_path):
    (tmp_path / "private.txt").write_text("mine")
    (dataset / "notes.txt").symlink_to(tmp_path / "private.txt")
    assert "notes.txt: a link to" in refusal(dataset)
    (dataset / "notes.txt").unlink()
    (dataset / "folder").symlink_to(tmp_path, target_is_directory=True)
    assert "folder: a link to" in refusal(dataset)
    (dataset / "folder").unlink()
    (dataset / "again.md").symlink_to("README.md")
    assert "again.md" in files_to_publish(dataset)


def test_synthetic_rows_need_the_flag_and_a_card_that_says_so(dataset):
    import pyarrow.parquet as pq

    for file in dataset.rglob("*.parquet"):
        table = pq.read_table(file)
        told = table.schema.metadata | {b"geograph": b'{"synthetic": true}'}
        pq.write_table(table.replace_schema_metadata(told), file)
    assert "this dataset holds synthetic rows" in refusal(dataset)
    files = files_to_publish(dataset, "dataset")
    with pytest.raises(CommandError, match="must say that rows are synthetic"):
        checks.check(files, "dataset", dataset, allow_synthetic=True)
    (dataset / "README.md").write_text((dataset / "README.md").read_text() + "Synthetic rows.\n")
    checks.check(files, "dataset", dataset, allow_synthetic=True)


def test_ordinary_words_are_no_secrets(dataset):
    (dataset / "notes.md").write_text(
        "https://huggingface.co/home/user/x and hf_hub_download, ./tmp/x, demo/tmp/y, /classify, AKIA, 1/2/3\n"
        "https://USER:PASSWORD@example.org/x?token=TOKEN, http://127.0.0.1:7860/a@b, git@github.com:a/b\n"
    )
    checks.check(files_to_publish(dataset), "dataset", dataset)


def test_a_secret_inside_a_binary_file(dataset):
    (dataset / "picture.png").write_bytes(b"\x89PNG" + bytes(3_000_000) + b"hf_" + b"a1B2" * 9)
    assert "picture.png holds a Hugging Face token" in refusal(dataset)


def rewrite(folder, change):
    """Changes the metadata of a card that is JSON."""
    _, metadata, body = (folder / "README.md").read_text().split("---\n", 2)
    data = json.loads(metadata)
    change(data)
    (folder / "README.md").write_text(f"---\n{json.dumps(data)}\n---\n{body}")


@pytest.mark.parametrize("key", ["license", "task_categories", "size_categories", "configs", "dataset_info"])
def test_the_card_must_be_complete(dataset, key):
    rewrite(dataset, lambda data: data.pop(key))
    assert refusal(dataset).endswith(f"its metadata lacks {key}")


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda d: d.update(size_categories=["small"]), "size_categories must be"),
        (lambda d: d["configs"][0].pop("default"), "one config must be the default"),
        (lambda d: d["configs"][0].pop("data_files"), "lacks 'data_files'"),
        (lambda d: d["dataset_info"][0]["splits"][0].update(num_examples=99), "99 rows, its files 6"),
        (lambda d: d["dataset_info"][0].pop("features"), "lacks 'features'"),
        (lambda d: d["configs"][0]["data_files"][0].update(path="gone/*.parquet"), "there is no such file"),
        (lambda d: d["configs"][0]["data_files"].pop(), "test-00000-of-00001.parquet: in no config"),
    ],
)
def test_the_card_must_agree_with_the_files(dataset, change, says):
    rewrite(dataset, change)
    assert says in refusal(dataset)


@pytest.mark.parametrize(
    "body, says",
    [
        ("---\nlicense: [\n---\n", "its metadata cannot be read"),
        ("No metadata at all\n", "lacks license"),
        ("{{ gap }}\n", "'{{ gap }}' was never filled in"),
        ("![curve](curve.png)\n", "links to curve.png, which is not in the folder"),
    ],
)
def test_the_card_must_be_whole(dataset, body, says):
    card = dataset / "README.md"
    card.write_text(body if body.startswith(("---", "No")) else card.read_text() + body)
    assert says in refusal(dataset)


def test_no_card(dataset):
    (dataset / "README.md").unlink()
    assert "no README.md" in refusal(dataset)


def test_parquet_must_be_readable_with_the_right_features(dataset):
    import pyarrow.parquet as pq

    file = dataset / "small" / "test-00000-of-00001.parquet"
    table = pq.read_table(file)
    pq.write_table(table.drop_columns("weight").replace_schema_metadata(table.schema.metadata), file)
    assert "column weight is in its features but not in the file" in refusal(dataset)
    pq.write_table(table.replace_schema_metadata(None), file)
    assert "no features in its metadata" in refusal(dataset)
    metadata = {b"huggingface": table.schema.metadata[b"huggingface"].replace(b"Cross Grid", b"Cross Far")}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    assert "column types is" in refusal(dataset)
    file.write_bytes(file.read_bytes()[:-100])
    assert "cannot be read as Parquet" in refusal(dataset)


@pytest.fixture(scope="module")
def made_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def model(made_model, tmp_path):
    return shutil.copytree(made_model, tmp_path / "model")


def set_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda f: (f / "pipeline_geograph.py").unlink(), "it lacks pipeline_geograph.py"),
        (lambda f: (f / "model.safetensors").unlink(), "it lacks model.safetensors"),
        (lambda f: set_config(f, custom_pipelines=None), "config.json lacks custom_pipelines"),
        (lambda f: set_config(f, vision_model="towers/../clip"), "a folder that nobody else has"),
        (lambda f: set_config(f, vision_model="/data/clip"), "a folder that nobody else has"),
        (lambda f: set_config(f, synthetic=True), "trained on synthetic rows"),
        (lambda f: (f / "train_results.json").write_text("{}"), "its metadata lacks model-index"),
        (lambda f: rewrite(f, lambda data: data.pop("base_model")), "its metadata lacks base_model"),
        (lambda f: rewrite(f, lambda data: data.update(library_name="keras")), "library_name must be transformers"),
        (lambda f: rewrite(f, lambda data: data.update({"model-index": [{"name": 1}]})), "metadata cannot be read"),
    ],
)
def test_a_model_folder_must_be_whole(model, spoil, says):
    spoil(model)
    assert says in refusal(model, "model")


def test_a_synthetic_model_needs_the_flag_and_a_card_that_says_so(model):
    set_config(model, synthetic=True)
    with pytest.raises(CommandError, match="must say that the model was trained on synthetic rows"):
        checks.check(files_to_publish(model), "model", model, allow_synthetic=True)


def test_a_model_must_load_in_a_fresh_process(model):
    """Here every file is there, and it would load from this repository's own folder."""
    with (model / "pipeline_geograph.py").open("a") as file:
        file.write("\nimport labels\n")
    assert "does not load in a fresh process" in refusal(model, "model")


def test_weights_must_fit_the_code(model):
    from safetensors.torch import load_file, save_file

    state = load_file(model / "model.safetensors")
    del state["fc.0.bias"]
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    answer = refusal(model, "model")
    assert "does not load in a fresh process" in answer and "fc.0.bias" in answer
    assert answer.count(str(model)) == 2 and "geograph-check" not in answer, "it names the folder, not a copy"


@pytest.mark.parametrize(
    "metadata, says",
    [
        ("python_version: 3.10\n", "python_version must stand in quotes"),
        ("colorFrom: pinkish\n", "colorFrom must be"),
        (f"short_description: {'long ' * 20}\n", "over 60 characters"),
        ("sdk: docker\n", "sdk must be gradio"),
    ],
)
def test_a_space_card(tmp_path, metadata, says):
    card = {
        "title": "Types", "sdk": "gradio", "sdk_version": "6.31.0", "python_version": "3.11", "app_file": "app.py",
        "license": "apache-2.0", "models": ["user/m"], "datasets": ["user/d"],
    }  # fmt: skip
    key = metadata.split(":")[0]
    lines = [f"{name}: {json.dumps(value)}" for name, value in card.items() if name != key]
    (tmp_path / "README.md").write_text("\n".join(["---", *lines, metadata.strip(), "---", "# Types\n"]))
    assert says in refusal(tmp_path, "space")


def test_a_space_must_be_whole_and_start_alone(tmp_path):
    (tmp_path / "README.md").write_text(
        '---\ntitle: T\nsdk: gradio\nsdk_version: 6.31.0\npython_version: "3.11"\napp_file: app.py\n'
        "license: apache-2.0\nmodels: [user/m]\ndatasets: [user/d]\n---\n"
    )
    (tmp_path / "app.py").write_text("import labels\n")
    assert "it lacks requirements.txt" in refusal(tmp_path, "space")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    assert "app.py does not load in a fresh process: ModuleNotFoundError" in refusal(tmp_path, "space")
