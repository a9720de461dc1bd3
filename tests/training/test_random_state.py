"""Random states survive a checkpoint file, and a body that must not move them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from mea_plugin.training import checkpoints
from mea_plugin.training.random_state import capture, preserved, restore


def draw():
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),  # noqa: NPY002
        np.random.randn(),  # noqa: NPY002
        torch.rand(3).tolist(),
    )


def test_through_a_file(tmp_path):
    draw()  # both gauss generators hold a second number now
    checkpoints.write(tmp_path / 'state', {'random': capture()})
    expected = draw(), draw()
    restore(checkpoints.read(tmp_path / 'state')['random'])
    assert (draw(), draw()) == expected


def test_preserved_however_it_ends():
    state = capture()
    expected = draw()
    restore(state)
    with pytest.raises(KeyError), preserved():
        draw()
        raise KeyError
    assert draw() == expected
