"""One server for all hostile programs, at each way of walling them off that can be had here."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest's import mode gives tests no folder of their own to import from.
sys.path.insert(0, str(Path(__file__).parent))

from fortress import OTHER_UID, Fortress


@pytest.fixture(scope="session")
def fortress() -> Iterator[Fortress]:
    """A server run by the user of the tests, at the strongest isolation; skips where the machine refuses."""
    with Fortress() as server:
        if not server.endpoint:
            pytest.skip(server.words())
        yield server


@pytest.fixture(scope="session")
def other_fortress() -> Iterator[Fortress]:
    """A server run by a user without privileges, behind user namespaces; skips where the machine refuses."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user; the server of the other tests is one without privileges")
    with Fortress(OTHER_UID) as server:
        if not server.endpoint:
            pytest.skip(server.words())
        yield server
