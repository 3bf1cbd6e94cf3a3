"""What a run was launched with, as far as its folder says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

_SECRET = re.compile(r"headers|password|secret|api_?key|(?<!\w)token$|(?:^|[._])(?:auth|credential)", re.IGNORECASE)
HIDDEN = "(hidden)"
"""Stands for the value of a key that may be a secret: reports are passed around."""


class Difference(NamedTuple):
    """A key with two values; None where a side leaves it at its default."""

    key: str
    mine: str | None
    theirs: str | None


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """The overrides of a launch command, in its order."""

    overrides: dict[str, str] = field(default_factory=dict)
    """By key, without leading plus signs; of a key that is given twice the last one, as Hydra takes it."""

    @classmethod
    def of(cls, words: Iterable[str]) -> LaunchSettings:
        """From the words of a launch command; what is not an override is passed over."""
        found: dict[str, str] = {}
        for word in words:
            key, equals, value = word.partition("=")
            key = key.lstrip("+")
            if equals and re.fullmatch(r"[\w.@/-]+", key) and not word.startswith("-"):
                found.pop(key, None)
                found[key] = HIDDEN if _SECRET.search(key) and value not in ("null", "") else value
        return cls(found)

    @property
    def recipe(self) -> str | None:
        return self.overrides.get("tir")

    @property
    def model(self) -> str | None:
        """The last part of the model's path or name."""
        path = self.overrides.get("actor_rollout_ref.model.path")
        return None if path is None else path.rstrip("/").rpartition("/")[2]

    @property
    def total_steps(self) -> int | None:
        """How many training steps were asked for, where the launch said so."""
        text = self.overrides.get("trainer.total_training_steps", "")
        return int(text) if text.isdecimal() else None

    def differences(self, other: LaunchSettings) -> list[Difference]:
        """Keys whose values differ, in the order of the launch commands."""
        keys = dict.fromkeys((*self.overrides, *other.overrides))
        every = (Difference(key, self.overrides.get(key), other.overrides.get(key)) for key in keys)
        return [difference for difference in every if difference.mine != difference.theirs]


def read_settings(folder: Path) -> LaunchSettings:
    """From the demo's `command.txt`, or from the overrides that Hydra keeps in its own folder; empty without either."""
    command = folder / "command.txt"
    if command.is_file():
        lines = command.read_text(encoding="utf-8", errors="replace").splitlines()
        return LaunchSettings.of(line.strip().removesuffix("\\").strip() for line in lines)
    for path in (folder / "hydra" / ".hydra" / "overrides.yaml", folder / ".hydra" / "overrides.yaml"):
        if path.is_file():
            words = yaml.safe_load(path.read_text(encoding="utf-8")) or []
            return LaunchSettings.of(map(str, words))
    return LaunchSettings()
