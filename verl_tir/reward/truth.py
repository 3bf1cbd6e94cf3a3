"""Ground truths as data sets give them."""

import numbers
from typing import Any


def accepted_answers(ground_truth: Any, where: str) -> list[str]:
    """The accepted answers as text: of a text, a number, or a non-empty list, tuple or array of these.

    Args:
        ground_truth: as it was read.
        where: names the place in the error, such as `"line 3"`.

    Raises:
        TypeError: it is anything else.
    """
    # Data sets loaded through parquet give arrays and numpy numbers.
    plain = ground_truth.tolist() if hasattr(ground_truth, "tolist") else ground_truth
    several = list(plain) if isinstance(plain, list | tuple) else [plain]
    if not several or not all(isinstance(one, str | numbers.Real) and not isinstance(one, bool) for one in several):
        raise TypeError(
            f"ground truth of {where} must be text, a number, or a non-empty list of these, not {ground_truth!r:.200}"
        )
    return [str(one) for one in several]
