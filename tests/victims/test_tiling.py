"""Tiles: the whole image's answer, equal sizes, bounded sizes; and what a victim does with images of many sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.victims.network import NetworkVictim
from mea_plugin.victims.tiling import Tiling
from tests.helpers import photograph, refused
from tests.victims.tiny_networks import Upscaler, network

# Sums of convolutions of other sizes may be rounded otherwise, and an answer at half a grey level with them.
TOLERANCE = 1


def victim(net=None, **options):
    return NetworkVictim(net or network(), {'type': 'tiny'}, defaults={'name': 'tiny'}, **{'device': 'cpu', **options})


WHOLE = victim()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    pixels=st.integers(150, 900),
    overlap=st.integers(Upscaler.radius, 5),
    batch_size=st.integers(1, 5),
)
def test_tiles_answer_as_the_whole_image(height, width, pixels, overlap, batch_size):
    """Inside and at the borders, where the network pads with zeros."""
    tiled = victim(tile_pixels=pixels, tile_overlap=overlap, batch_size=batch_size)
    image = photograph((height, width), seed=height * 71 + width)
    whole, cut = WHOLE.query([image])[0].astype(int), tiled.query([image])[0].astype(int)
    assert whole.shape == cut.shape
    assert np.abs(whole - cut).max() <= TOLERANCE


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    pixels=st.integers(1, 3000),
    overlap=st.integers(0, 9),
    multiple=st.integers(1, 6),
    scale=st.integers(1, 3),
    batch_size=st.integers(1, 5),
)
def test_any_tiling_covers_the_image(height, width, pixels, overlap, multiple, scale, batch_size):
    """With a network that looks at single pixels nothing may differ, and no tile may be above the limit."""
    least = (2 * -(-overlap // multiple) * multiple + multiple) ** 2
    if pixels < least:
        with refused('victim.tile_pixels', str(pixels), do=str(least)):
            Tiling(pixels, overlap, multiple)
        pixels = least
    tiling = Tiling(pixels, overlap, multiple)
    image = np.random.default_rng(height * 201 + width).integers(0, 256, (height, width, 3), np.uint8)
    if not tiling.applies(image):
        assert height * width <= pixels
        return
    shapes = set()

    def ask(batch):
        shapes.add(batch.shape[1:])
        assert len(batch) <= batch_size
        return list(batch.repeat(scale, 1).repeat(scale, 2))

    answer = tiling.answer(ask, image, scale=scale, batch_size=batch_size)
    assert np.array_equal(answer, image.repeat(scale, 0).repeat(scale, 1))
    (shape,) = shapes
    assert shape[0] * shape[1] <= pixels
    assert shape[0] % multiple == shape[1] % multiple == 0


def test_too_small_an_overlap_shows():
    """So the tests above would see a seam."""
    image = photograph((40, 40))
    seams = victim(tile_pixels=400, tile_overlap=0).query([image])[0].astype(int) - WHOLE.query([image])[0]
    assert np.abs(seams).max() > 5


def test_strides_keep_their_phase():
    """A network that treats the pixels of each 4x4 cell differently needs tiles that begin where the cells do."""
    import torch

    class Cells(torch.nn.Module):
        def forward(self, image):
            cells = torch.nn.functional.avg_pool2d(image, 4)
            return torch.nn.functional.interpolate(cells, scale_factor=4)

    image = photograph((43, 61))
    whole = victim(Cells(), multiple=4).query([image])[0]
    assert np.array_equal(victim(Cells(), multiple=4, tile_pixels=300, tile_overlap=3).query([image])[0], whole)


def test_memory_is_bounded_by_the_tile():
    seen = []
    net = network()
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    tiled = victim(net, tile_pixels=256, tile_overlap=2, batch_size=3)
    seen.clear()
    tiled.query([photograph((16, 16)), photograph((64, 48))])
    assert max(shape[0] for shape in seen) == 3
    assert len({shape[1:] for shape in seen if shape[0] == 3}) == 1
    assert all(shape[2] * shape[3] <= 256 for shape in seen)
    assert len(seen) == 1 + -(-5 * 4 // 3)


def test_tiles_are_in_the_fingerprint_when_they_act():
    one, other = victim(tile_pixels=1200), victim(tile_pixels=1200, tile_overlap=3)
    assert WHOLE.fingerprint == victim(tile_overlap=3, batch_size=2, name='x').fingerprint
    assert len({WHOLE.fingerprint, one.fingerprint, other.fingerprint}) == 3


def test_images_of_one_size_go_together_wherever_they_stand():
    seen = []
    net = network()
    net.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    asked = victim(net, batch_size=2)
    seen.clear()
    sizes = [(8, 9), (5, 4), (8, 9), (30, 30), (5, 4), (8, 9)]
    images = [photograph(size, index) for index, size in enumerate(sizes)]
    answers = asked.query(images)
    assert sorted(seen) == [(1, 3, 8, 9), (1, 3, 30, 30), (2, 3, 5, 4), (2, 3, 8, 9)]
    for image, answer in zip(images, answers, strict=True):
        assert np.abs(WHOLE.query([image])[0].astype(int) - answer).max() <= TOLERANCE
    assert asked.query([]) == []
