"""Ray's own start, which is not what is tested.

A raylet gives its dashboard agent, a Python process with many imports, 15 s to come up, and ends itself when it does
not; no setting changes that. With two runs of verl side by side on two cores it happens now and then.
"""

RAY_ATTEMPTS = range(3)


def ray_did_not_start(log: str) -> bool:
    """Whether a launch ended because Ray's node did not come up, before verl did anything."""
    return "The current node timed out during startup" in log
