"""Reward: the boxed answer of a trajectory against its ground truth.

`answer`, `latex_text` and `python_text` are pure text functions. `equivalence` compares two answers with math-verify;
it can hang or eat memory on hostile input, so it runs only in `worker` processes, which `pool` bounds and replaces.
`score` is the function verl calls.
"""
