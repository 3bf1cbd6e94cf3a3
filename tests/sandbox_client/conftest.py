"""What every scenario of the client must leave behind it: nothing."""

import asyncio
import gc

import pytest


@pytest.fixture
async def nothing_left_over():
    """No task of the client outlives the test, and no exception is left to the event loop's complaints."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    yield
    assert not [task for task in asyncio.all_tasks() if "sandbox" in task.get_name()]
    gc.collect()
    assert complaints == []
