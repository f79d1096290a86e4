"""The hub that tests share, as it takes half a second to begin and end."""

from collections.abc import Iterator

import pytest

from tests.hub import Hub, serving


@pytest.fixture(scope="package")
def shared() -> Iterator[Hub]:
    with serving(Hub()) as hub:
        yield hub


@pytest.fixture
def hub(shared: Hub) -> Hub:
    """Everything new but the ports, and no model yet."""
    shared.begin_anew()
    return shared
