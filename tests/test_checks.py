"""What is refused before anything is sent, each for a reason that names the file."""

import json
import pickle
import shutil
import zipfile

import pytest
from publishing import write_dataset

import checks
from cli import CommandError
from hub import files_to_publish


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("made") / "geograph-types")


@pytest.fixture
def dataset(made, tmp_path):
    return shutil.copytree(made, tmp_path / "geograph-types")


def refusal(folder, kind="dataset") -> str:
    with pytest.raises(CommandError) as caught:
        checks.check(files_to_publish(folder), kind, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_dataset_passes(dataset):
    checks.check(files_to_publish(dataset), "dataset", dataset)


def test_what_is_never_published(dataset):
    kept = set(files_to_publish(dataset))
    left = [
        "rejected.jsonl", "checkpoint-12/model.safetensors", "training_args.bin", "optimizer.pt", "rng_state_0.pth",
        "runs/x/events.out", ".git/config", ".env", "__pycache__/a.pyc", ".cache/huggingface/x",
    ]  # fmt: skip
    for name in left:
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_bytes(b"x")
    assert set(files_to_publish(dataset)) == kept


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


def test_ordinary_words_are_no_secrets(dataset):
    (dataset / "notes.md").write_text(
        "https://huggingface.co/home/user/x and hf_hub_download, ./tmp/x, demo/tmp/y, /classify, AKIA, 1/2/3\n"
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
