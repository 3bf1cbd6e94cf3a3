"""Which groups the gates admit."""

import pytest

from verl_tir.filters.gates import SoundGate
from verl_tir.filters.void import Row


@pytest.mark.parametrize(
    ("rollout_n", "min_ratio", "sound", "aborted", "admitted"),
    [
        (8, 0.5, 8, 0, True),
        (8, 0.5, 4, 4, True),
        (8, 0.5, 3, 5, False),
        (8, 0.5, 0, 8, False),
        # A group of which rows are missing altogether is as poor as one with as many aborted.
        (8, 0.5, 3, 0, False),
        # Half of an odd number is rounded up.
        (5, 0.5, 3, 2, True),
        (5, 0.5, 2, 3, False),
        # Whatever the share, a baseline takes two.
        (8, 0.0, 2, 6, True),
        (8, 0.0, 1, 7, False),
        (8, 1.0, 8, 0, True),
        (8, 1.0, 7, 1, False),
        # verl samples single rows here, and there is no baseline.
        (1, 0.5, 1, 0, True),
        (1, 0.5, 0, 1, False),
    ],
)
def test_sound_gate(rollout_n: int, min_ratio: float, sound: int, aborted: int, admitted: bool) -> None:
    """A group needs its share of sound rows, and two of them."""
    rows = [Row(f"k{i}", "g", False, i >= sound, 0.0, 3) for i in range(sound + aborted)]
    assert SoundGate(rollout_n, min_ratio).admit(rows) is admitted
