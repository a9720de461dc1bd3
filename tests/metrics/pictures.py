"""Images to measure."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from mea_plugin.metrics.planes import Planes


def related(seed, height=40, width=53, noise=12.0):
    """A smooth image with texture, and a noisy copy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / rng.uniform(2, 9) + y / rng.uniform(2, 9) + c) for c in range(3)]
    image = np.stack(waves, axis=2)
    noisy = image + rng.normal(0, noise, image.shape)
    return tuple(part.clip(0, 255).round().astype(np.uint8) for part in (image, noisy))


def related_pairs(smallest=27, largest=60):
    """Pairs of :func:`related`, of any size between two."""
    sizes = st.integers(smallest, largest)
    return st.builds(related, st.integers(0, 2**32 - 1), sizes, sizes, st.floats(0.5, 60))


def grey(seed, height, width, deviation, mean=128.0):
    """A grey image of white noise, of equal R, G and B."""
    values = np.random.default_rng(seed).normal(mean, deviation, (height, width, 1))
    return values.round().clip(0, 255).astype(np.uint8).repeat(3, axis=2)


def cut(image, border):
    """An image without its border."""
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def planes(*images, border=0):
    """Images as the metrics take them."""
    return [Planes(image, border=border) for image in images]
