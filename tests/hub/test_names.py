"""A card's code works on its page, where names need their user."""

import pytest

from geograph_types.hub.names import names_on_the_hub

CARD = """---
datasets:
- geograph-types
tags:
- geograph
model-index:
- results:
  - dataset:
      name: geograph-types
      type: geograph-types
---
pipeline("geograph-types", model="geograph-type-classifier")
AutoModel.from_pretrained("geograph-type-classifier", trust_remote_code=True)
load_dataset("geograph-types", "small")
The folder `geograph-types`.
"""


@pytest.mark.parametrize(
    "repo_id, repo_type, model, dataset",
    [
        ("jo/types-v2", "model", "jo/types-v2", "jo/geograph-types"),
        ("jo/rows", "dataset", "jo/geograph-type-classifier", "jo/rows"),
        ("jo/demo", "space", "jo/geograph-type-classifier", "jo/geograph-types"),
    ],
)
def test_names_get_their_user(repo_id, repo_type, model, dataset):
    expected = CARD.replace("- geograph-types\n", f"- {dataset}\n").replace("type: geograph-types", f"type: {dataset}")
    expected = expected.replace('model="geograph-type-classifier"', f'model="{model}"')
    expected = expected.replace('("geograph-type-classifier"', f'("{model}"')
    expected = expected.replace('load_dataset("geograph-types"', f'load_dataset("{dataset}"')
    assert names_on_the_hub(CARD, repo_id, repo_type) == expected
    assert names_on_the_hub(expected, repo_id, repo_type) == expected, "again changes nothing"


def test_a_text_without_metadata():
    assert names_on_the_hub('load_dataset("geograph-types")\n', "jo/rows", "dataset") == 'load_dataset("jo/rows")\n'
    assert names_on_the_hub("- geograph-types\n", "jo/rows", "dataset") == "- geograph-types\n"
