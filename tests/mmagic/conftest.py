"""Fixtures for the tests of the MMagic adapter."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _mmagic_scope() -> None:
    """MMagic's registries first, and a message hub of each test's own."""
    pytest.importorskip('mmagic')
    from mmengine.logging import MessageHub
    from mmengine.registry import init_default_scope

    import mea_plugin.mmagic  # noqa: F401 - registers

    init_default_scope('mmagic')
    MessageHub.get_current_instance().update_info('iter', 0)
