"""The last step of `make demo`: loads the trained model as users do, and tells the types of one test photo.

python examples/first_answer.py FOLDER    (the folder that `make demo` filled)
"""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="demo", type=Path, help="what `make demo` filled")
    folder = parser.parse_args().folder
    if not (folder / "geograph-type-classifier" / "model.safetensors").is_file():
        parser.exit(1, f"{folder}: no trained model in it; `make demo` makes one\n")

    import torch
    from datasets import load_dataset
    from transformers import AutoModel, pipeline
    from transformers.utils import logging

    logging.disable_progress_bar()
    row = load_dataset(str(folder / "geograph-types"), "small", split="test")[0]

    model = AutoModel.from_pretrained(folder / "geograph-type-classifier", trust_remote_code=True)
    embedding, distance = torch.tensor(row["embedding"])[None], torch.tensor([row["distance_bucket"]])
    probabilities = model(embedding, distance).logits.sigmoid()[0].tolist()

    classify = pipeline("geograph-types", model=str(folder / "geograph-type-classifier"), trust_remote_code=True)
    answer = classify({"embedding": row["embedding"]}, distance=row["distance"])

    tags = load_dataset(str(folder / "geograph-types"), "small", split="test").features["types"].feature
    written = ", ".join(tags.int2str(row["types"]))
    print(f"\nRow {row['gridimage_id']}, distance {row['distance'] or 0}; people wrote: {written}")
    for name, probability in sorted(zip(model.config.classes, probabilities, strict=True), key=lambda pair: -pair[1]):
        print(f"  {name:<11} {probability:6.1%}  {'#' * round(40 * probability)}")
    print(f"Types to submit: {', '.join(answer['types'])}")
    print("\nThese rows are SYNTHETIC: the figures say that everything works, nothing about photos.")
    print("The official rows (CC BY-SA 4.0): prepare_dataset.py --output_dir geograph-types \\")
    print("    --source https://development.geograph.org.uk/ai/types_dataset_1.jsonl.gz")
    print(f"Look at {folder / 'report' / 'report.html'}, or start the Space: make app")


if __name__ == "__main__":
    main()
