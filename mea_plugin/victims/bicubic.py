"""Bicubic interpolation as a victim: the reference row of every super-resolution table."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from mea_plugin.core.files import hash_json
from mea_plugin.core.schema import Text, Whole
from mea_plugin.core.signatures import checked
from mea_plugin.data.resize import bicubic

__all__ = ['BicubicVictim']


class BicubicVictim:
    """Enlarges images as MATLAB's ``imresize`` does (:func:`mea_plugin.data.resize.bicubic`).

    Args:
        scale: Output size by input size, a whole number of at least 1.
        name: How tables call it.

    Raises:
        InputError: The scale is not such a number.
    """

    @checked('victim')
    def __init__(self, scale: Annotated[int, Whole(1)], name: Text = 'bicubic') -> None:
        self.name, self.scale = name, scale
        self.fingerprint = hash_json({'type': 'bicubic', 'like': 'matlab', 'scale': scale})

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Enlarge each image.

        Args:
            images: uint8 arrays ``(H, W, 3)``, RGB, of any sizes.

        Returns:
            uint8 arrays ``(scale * H, scale * W, 3)``, RGB, in the same order.
        """
        return [bicubic(image, self.scale) for image in images]
