"""The prompt templates that the recipes bring, by name."""

from pathlib import Path

import yaml

_RECIPES = Path(__file__).parents[2] / "recipes" / "tir"

TEMPLATES: dict[str, str] = {"none": "{question}"} | {
    name: yaml.safe_load((_RECIPES / f"{name}.yaml").read_text())["tir"]["prompt"]["templates"][name]
    for name in ("simpletir", "torl")
}
