"""What the loss refuses, and that it says what to do."""

from __future__ import annotations

import pytest
import torch

from mea_plugin.losses import HighFrequencyLoss


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'loss_weight': -0.1}, r'loss_weight\b.* -0\.1\..* 0\b'),
        ({'loss_weight': float('nan')}, r'loss_weight\b.* nan\b'),
        ({'loss_weight': float('inf')}, r'loss_weight\b.* inf\b'),
        ({'loss_weight': '0.1'}, r"loss_weight\b.* '0\.1'"),
        ({'loss_weight': True}, r'loss_weight\b.* True\b'),
        ({'wave': 'db3x'}, r"'db3x'.*'db3"),
        ({'wave': 'morl'}, r"'morl'.*'db3'"),
        ({'level': 0}, r'level\b.* 0\b.* 1\b'),
        ({'level': -1}, r'level\b.* -1\b'),
        ({'level': 2.0}, r'level\b.* 2\.0\b'),
        ({'level': True}, r'level\b.* True\b'),
        ({'mode': 'periodic'}, r"mode\b.*'periodic'.* zero, reflect, symmetric, periodization"),
        ({'mode': ['zero']}, r"mode\b.*\['zero'\]"),
    ],
)
def test_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        HighFrequencyLoss(**arguments)


IMAGES = torch.zeros(1, 3, 32, 32)


@pytest.mark.parametrize(
    ('pred', 'target', 'said'),
    [
        (IMAGES, IMAGES[:, :1], r'pred\b.*\(1, 3, 32, 32\).*target\b.*\(1, 1, 32, 32\).*\(N, C, H, W\)'),
        (IMAGES, IMAGES[..., :31], r'target\b.*\(1, 3, 32, 31\)'),
        (IMAGES[0], IMAGES[0], r'pred\b.*\(3, 32, 32\).*\(N, C, H, W\)'),
        (IMAGES[0], IMAGES, r'pred\b.* \(3, 32, 32\).*target\b'),
        (IMAGES.int(), IMAGES.int(), r'pred\b.*torch\.int32\b.*target\b.* float\b'),
        (IMAGES, IMAGES.byte(), r'target\b.*torch\.uint8\b.* float\b'),
        (IMAGES.cfloat(), IMAGES.cfloat(), r'pred\b.*torch\.complex64\b'),
        (IMAGES, IMAGES.double(), r'pred\b.*torch\.float32\b.*target\b.*torch\.float64\b'),
        (IMAGES.half(), IMAGES, r'pred\b.*torch\.float16\b.*target\b.*torch\.float32\b'),
        (IMAGES, IMAGES.to('meta'), r'pred\b.*\bcpu\b.*target\b.*\bmeta\b'),
        (IMAGES[:0], IMAGES[:0], r'^(?!.*target)pred\b.*\(0, 3, 32, 32\)'),
        (IMAGES[:, :0], IMAGES[:, :0], r'^(?!.*target)pred\b.*\(1, 0, 32, 32\)'),
    ],
)
def test_images(pred, target, said):
    with pytest.raises(ValueError, match=said):
        HighFrequencyLoss()(pred, target)


@pytest.mark.parametrize('shape', [(19, 64), (64, 19)])
def test_a_level_above_the_highest_is_refused_where_pywavelets_warns(shape):
    said = rf"level 2\b.*'db3'.*\b20 x 20\b.*\b{shape[0]} x {shape[1]}\b"
    with pytest.raises(ValueError, match=said):
        HighFrequencyLoss()(torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape))
    assert HighFrequencyLoss()(torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)) == 0
