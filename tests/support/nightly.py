"""How much of the long tests runs: all of it with `make test-nightly`, a tenth otherwise."""

import os

WHOLE = "NIGHTLY" in os.environ


def scaled(count: int) -> int:
    """`count` in a nightly run (the environment variable NIGHTLY is set), else a tenth of it, and at least 1."""
    return count if WHOLE else max(1, count // 10)
