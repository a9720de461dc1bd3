"""Fixtures for the tests of the BasicSR adapter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

import mea_plugin.basicsr  # noqa: F401 - the toolbox's work-arounds, before any test module imports it


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """What BasicSR has logged so far."""
    caplog.set_level(logging.INFO, logger='basicsr')
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)  # it does not propagate
    yield lambda: caplog.text
    logger.removeHandler(caplog.handler)
