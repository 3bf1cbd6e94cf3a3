"""The prompt templates that the recipes bring, by name."""

from pathlib import Path

import yaml

_RECIPES = Path(__file__).parents[2] / "recipes" / "tir"

TEMPLATES: dict[str, str] = {"none": "{question}"} | {
    name: text
    for recipe in ("simpletir", "torl")
    for name, text in yaml.safe_load((_RECIPES / f"{recipe}.yaml").read_text())["tir"]["prompt"]["templates"].items()
}
