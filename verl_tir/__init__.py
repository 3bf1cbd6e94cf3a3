"""Tool-integrated reasoning for verl: multi-turn rollout, void-turn filter and tool-feedback mask, as a plugin."""

__version__ = "0.1.0"
