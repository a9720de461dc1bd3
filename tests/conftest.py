"""Fixtures for every test: a fixed seed, and the real images where they are at hand."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import costs

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seed():
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the toolboxes draw from the global generators
    torch.manual_seed(0)


@pytest.fixture(scope='module', autouse=True)
def _own_loggers():
    """No MMEngine logger of a run before: configuring `logging`, as uvicorn does, closes its file, and it stays."""
    if logging := sys.modules.get('mmengine.logging'):
        for logger in logging.MMLogger._instance_dict.values():
            for handler in logger.handlers:
                handler.close()  # or its file is reported where it is collected, in another test
        logging.MMLogger._instance_dict.clear()


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder with Set5, Set14, ...: ``MEA_DATA``, or ``shared/data`` beside the repository."""
    folder = Path(os.environ.get('MEA_DATA', ROOT.parent / 'shared' / 'data'))
    if not (folder / 'Set5').is_dir():
        pytest.skip(f'no Set5 in {folder}; set MEA_DATA to a folder that holds Set5 and Set14')
    return folder


@pytest.fixture(scope='session')
def root() -> Path:
    """The repository's root."""
    return ROOT


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--fast', action='store_true', help='no slow tests, and one parameter set of each other test')


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what takes long; where several processes share the files, those with such tests come first."""
    costs.mark(items)
    if config.getoption('fast'):
        dropped = costs.drop_for_speed(items)
        config.hook.pytest_deselected(items=dropped)
    if hasattr(config, 'workerinput'):
        slow = {item.path for item in items if item.get_closest_marker('slow')}
        items.sort(key=lambda item: item.path not in slow)
