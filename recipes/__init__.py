"""Hydra config groups and launch scripts; installed as `verl_tir.recipes`."""
