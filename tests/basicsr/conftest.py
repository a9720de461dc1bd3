"""Fixtures for the tests of the BasicSR adapter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """What BasicSR has logged so far."""
    caplog.set_level(logging.INFO, logger='basicsr')
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)  # it does not propagate
    yield lambda: caplog.text
    logger.removeHandler(caplog.handler)
