"""A served application for every test of clients."""

from collections.abc import AsyncIterator

import pytest

from tests.apis.clients import everything, model
from tests.programs import Knowing
from tests.sockets import Served


@pytest.fixture
def said() -> Knowing:
    """The model; a test puts its lines in."""
    return model()


@pytest.fixture
async def served(said: Knowing) -> AsyncIterator[Served]:
    async with everything(said) as served:
        yield served
