"""The published JSON schema is that of the recipes."""

import json
from pathlib import Path

from sampling.recipes import Recipe

PUBLISHED = Path(__file__).parents[2] / "docs" / "recipe.schema.json"


def test_the_published_schema_is_current() -> None:
    assert json.loads(PUBLISHED.read_text()) == Recipe.model_json_schema()
