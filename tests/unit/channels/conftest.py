"""The driver of rings and links in Node."""

from collections.abc import Iterator

import pytest

from tests.unit.node_host import NodeHost


@pytest.fixture(scope="module")
def shim() -> Iterator[NodeHost]:
    with NodeHost("ring_driver.mjs") as host:
        yield host
