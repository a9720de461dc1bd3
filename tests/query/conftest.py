"""A service for the tests of query runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.victims.http.service import Service


@pytest.fixture(scope='module')
def server() -> Iterator[Service]:
    """An HTTP service of each module's own."""
    with Service() as service:
        yield service
