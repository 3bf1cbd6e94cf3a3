"""`python -m verl_tir`."""

from verl_tir.cli import app

app(prog_name="verl-tir")
