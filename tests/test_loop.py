"""Find, look, correct, train again: what a moderator said of found photos is what the next model learns."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pybase64

from names_geograph import TAGS
from tests.support.commands import in_process

ROWS, PLANTED, KNOWN = 1000, 20, 3
FLAGS = (
    *("--num_train_epochs", 8, "--per_device_train_batch_size", 64, "--folds", 0),
    *("--clean_labels", False, "--distance_faults", False),
)


def run(command: str, *flags: object) -> None:
    done = in_process(command, *flags)
    assert done.returncode == 0, done.stderr


def write_rows(path) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two types; among them photos that look like the known drone photos, and that people called Geograph.
    Gives the numbers of the planted and of the known ones."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((ROWS, 512)).astype("<f4") * 0.4
    types = np.array(["Geograph", "Inside"])[np.arange(ROWS) % 2]
    vectors[np.arange(ROWS), np.arange(ROWS) % 2] += 6
    drones = generator.choice(ROWS, PLANTED + KNOWN, replace=False)
    vectors[drones, 2] += 9
    types[drones] = "Geograph"
    names = types.tolist()
    for place in drones[PLANTED:]:
        names[place] = "From Drone"
    with path.open("w") as file:
        for place in range(ROWS):
            text = pybase64.b64encode_as_string(vectors[place].tobytes())
            row = {"gridimage_id": place + 1, "types": names[place], "distance": "16", "embeddings": text}
            file.write(json.dumps(row) + "\n")
    return drones[:PLANTED] + 1, drones[PLANTED:] + 1


def labels_in(dataset) -> dict[int, set[str]]:
    """What training reads: photo → its tags."""
    found = {}
    for path in (dataset / "large").glob("*.parquet"):
        table = pq.read_table(path, columns=["gridimage_id", "types"])
        for image_id, tags in zip(*(column.to_pylist() for column in table.columns), strict=True):
            found[image_id] = {TAGS[tag] for tag in tags}
    return found


def drone_scores(tmp_path, model, rows) -> dict[int, float]:
    run("predict", "--model", model, "--input", rows, "--output", tmp_path / "answers.jsonl")
    answers = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
    return {answer["gridimage_id"]: answer["scores"]["From Drone"] for answer in answers}


def test_what_is_found_and_confirmed_is_learnt(tmp_path):
    rows = tmp_path / "rows.jsonl"
    planted, known = write_rows(rows)
    (tmp_path / "drones.txt").write_text("".join(f"{image_id}\n" for image_id in known))
    flags = ["--input", rows, "--like", tmp_path / "drones.txt", "--tag", "From Drone", "--top", PLANTED + 5]
    run("find_photos", *flags, "--output", tmp_path / "found.csv")
    # The moderator looks at each: the planted ones are drone photos. As the page writes it down.
    drones, lines = set(planted.tolist()), ["gridimage_id,tag,answer"]
    for row in csv.DictReader((tmp_path / "found.csv").read_text().splitlines()):
        answer = "yes" if int(row["gridimage_id"]) in drones else "no"
        lines.append(f"{row['gridimage_id']},{row['tag_in_question']},{answer}")
    (tmp_path / "corrections.csv").write_text("\n".join(lines) + "\n")
    scores, labels = [], []
    for name, corrections in (("before", ()), ("after", ("--corrections", tmp_path / "corrections.csv"))):
        dataset, model = tmp_path / name, tmp_path / f"{name}-model"
        run("prepare_dataset", "--source", rows, "--output_dir", dataset, *corrections)
        run("train", "--dataset", dataset, "--dataset_config", "large", "--output_dir", model, *FLAGS)
        labels.append(labels_in(dataset))
        scores.append(drone_scores(tmp_path, model, rows))
    before, after = labels
    assert {i for i in before if before[i] != after[i]} == drones
    assert all(after[i] == before[i] | {"From Drone"} for i in drones)
    card = (tmp_path / "after" / "README.md").read_text()
    assert f"People corrected {PLANTED + 5} tags: From Drone added to {PLANTED} rows; 5 changed nothing." in card
    of_before, of_after = ([found[i] for i in sorted(drones)] for found in scores)
    assert max(of_before) < 0.3 and np.mean(of_after) > 0.6
    assert min(np.subtract(of_after, of_before)) > 0.1
    others = set(before) - drones - set(known.tolist())
    assert max(abs(scores[1][i] - scores[0][i]) for i in others) < 0.1
