"""Reward: the boxed answer of a trajectory against its ground truth.

`answer`, `latex_text`, `python_text`, `plain_number`, `units`, `form` and `relations` are pure text functions, and
`compare` decides with them what needs no algebra. `algebra` can hang or eat memory on hostile input, so it runs only in
`worker` processes, which `pool` bounds and replaces. `score` is the function verl calls, `lines` scores files.
"""
