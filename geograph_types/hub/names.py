"""The names that a card's code and metadata use: a folder's here, the repository's on its page.

Here `load_dataset("geograph-types", "small")` reads the folder of that name. On the Hub readers paste the same line,
so there it must name the repository. A name without a user is taken for the publisher's own.
"""

import re

from names_geograph import DATASET_NAME, MODEL_NAME


def names_on_the_hub(card: str, repo_id: str, repo_type: str) -> str:
    """A card's text as its page shows it.

    Args:
        repo_id: USER/NAME of the page. The other repositories are taken to have the same user and their usual names.
        repo_type: "model", "dataset" or "space".
    """
    user = repo_id.split("/")[0]
    model = repo_id if repo_type == "model" else f"{user}/{MODEL_NAME}"
    dataset = repo_id if repo_type == "dataset" else f"{user}/{DATASET_NAME}"
    head, fence, body = _split(card)
    head = re.sub(rf"^(\s*-|\s+type:) {DATASET_NAME}$", rf"\1 {dataset}", head, flags=re.MULTILINE)
    head = re.sub(rf"^(\s*-) {MODEL_NAME}$", rf"\1 {model}", head, flags=re.MULTILINE)
    # The pipeline's task is called geograph-types, too, and stays.
    body = re.sub(rf'(load_dataset\(\s*)"{DATASET_NAME}"', rf'\1"{dataset}"', body)
    body = re.sub(rf'((?:from_pretrained\(|model=)\s*)"{MODEL_NAME}"', rf'\1"{model}"', body)
    # The citation's address.
    body = body.replace(f"https://huggingface.co/{MODEL_NAME}}}", f"https://huggingface.co/{model}}}")
    if repo_type == "space":
        host = re.sub(r"[^a-z0-9]+", "-", repo_id.lower()).strip("-")
        body = body.replace('"USER/SPACE"', f'"{repo_id}"').replace("USER-SPACE.hf.space", f"{host}.hf.space")
    return head + fence + body


def _split(card: str) -> tuple[str, str, str]:
    """Metadata, the line that ends it, and the text; all of it is text where there is no metadata."""
    match = re.match(r"(---\r?\n.*?\r?\n)(---\r?\n)", card, re.DOTALL)
    return (match[1], match[2], card[match.end() :]) if match else ("", "", card)
