"""What the loss refuses, and that it says what to do."""

from __future__ import annotations

import pytest
import torch

from mea_plugin.losses import HighFrequencyLoss


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'loss_weight': -0.1}, r'loss_weight is -0\.1\. Use a finite number of at least 0'),
        ({'loss_weight': float('nan')}, 'loss_weight is nan'),
        ({'loss_weight': float('inf')}, 'loss_weight is inf'),
        ({'loss_weight': '0.1'}, "loss_weight is '0.1'"),
        ({'loss_weight': True}, 'loss_weight is True'),
        ({'wave': 'db3x'}, r"unknown wave 'db3x'\. Use 'db3"),
        ({'wave': 'morl'}, 'continuous'),
        ({'level': 0}, r'level is 0\. Use a whole number of at least 1'),
        ({'level': -1}, 'level is -1'),
        ({'level': 2.0}, r'level is 2\.0'),
        ({'level': True}, 'level is True'),
        ({'mode': 'periodic'}, r"unknown mode 'periodic'\. Use one of zero, reflect, symmetric, periodization"),
        ({'mode': ['zero']}, r"unknown mode \['zero'\]"),
    ],
)
def test_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        HighFrequencyLoss(**arguments)


IMAGES = torch.zeros(1, 3, 32, 32)


@pytest.mark.parametrize(
    ('pred', 'target', 'said'),
    [
        (IMAGES, IMAGES[:, :1], r'pred is \(1, 3, 32, 32\) and target is \(1, 1, 32, 32\)\. Give both as'),
        (IMAGES, IMAGES[..., :31], r'target is \(1, 3, 32, 31\)'),
        (IMAGES[0], IMAGES[0], r'pred is \(3, 32, 32\) .* Give both as \(N, C, H, W\)'),
        (IMAGES[0], IMAGES, r'pred is \(3, 32, 32\)'),
        (IMAGES.int(), IMAGES.int(), r'pred is torch\.int32 .* Convert both to a float type'),
        (IMAGES, IMAGES.byte(), r'target is torch\.uint8\. Convert both to a float type'),
        (IMAGES.cfloat(), IMAGES.cfloat(), r'pred is torch\.complex64'),
        (IMAGES, IMAGES.double(), r'pred is torch\.float32 and target is torch\.float64\. Convert one to the other'),
        (IMAGES.half(), IMAGES, r'pred is torch\.float16 and target is torch\.float32'),
        (IMAGES, IMAGES.to('meta'), 'pred is on cpu and target is on meta. Move one to the other'),
        (IMAGES[:0], IMAGES[:0], r'pred is \(0, 3, 32, 32\), an empty batch\. Give at least one image'),
        (IMAGES[:, :0], IMAGES[:, :0], 'an empty batch'),
    ],
)
def test_images(pred, target, said):
    with pytest.raises(ValueError, match=said):
        HighFrequencyLoss()(pred, target)


@pytest.mark.parametrize('shape', [(19, 64), (64, 19)])
def test_a_level_above_the_highest_is_refused_where_pywavelets_warns(shape):
    said = rf"level 2 of wave 'db3' needs images of at least 20 x 20, these are {shape[0]} x {shape[1]}\. Use a lower"
    with pytest.raises(ValueError, match=said):
        HighFrequencyLoss()(torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape))
    assert HighFrequencyLoss()(torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)) == 0
