"""Slows vLLM's engine as a large model would, so that it has requests at any time an update may come.

Imported by verl in every process of a run (VERL_USE_EXTERNAL_MODULES); it acts where vLLM's engine is. A toy model
answers within milliseconds, and few of its requests are ever cut off.
"""

from __future__ import annotations

import sys
import time
from functools import wraps
from typing import Any

SECONDS = 0.01
"""For one step of the engine: a token of each request that runs."""

if (core := sys.modules.get("vllm.v1.engine.core")) is not None:
    _process_engine_step = core.EngineCoreProc._process_engine_step

    @wraps(_process_engine_step)
    def _slow_engine_step(self: Any) -> bool:
        time.sleep(SECONDS)
        return _process_engine_step(self)

    core.EngineCoreProc._process_engine_step = _slow_engine_step
