"""The images that a metric compares, out of what MMagic's models give for a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.mmagic.metrics.image_order import ImageOrders
from mea_plugin.training.logged_metrics import ChannelOrder, to_rgb

__all__ = ['SampleImages']


class SampleImages:
    """Reads predictions and references as the metrics of this package take them.

    Args:
        pred_key: The prediction: in ``output`` where the model puts it there, else beside the data set's images, as
            translation models do (``fake_DOMAIN``).
        gt_key: The reference.
        axes: ``CHW``, or ``HWC``.
        orders: How the channels lie.
        channel_order: What the images are, in place of what ``orders`` finds out.
    """

    def __init__(
        self, pred_key: str, gt_key: str, axes: str, orders: ImageOrders, channel_order: ChannelOrder | None
    ) -> None:
        self.pred_key, self.gt_key, self._axes = pred_key, gt_key, axes
        self._orders, self._order = orders, channel_order

    def prediction(self, sample: Mapping[str, Any]) -> list[np.ndarray | None]:
        """What the model made: its frames, uint8 ``(H, W, 3)``, RGB; None for one that is not finite."""
        output = sample.get('output')
        found = output if isinstance(output, Mapping) and self.pred_key in output else sample
        return self._read(found, self.pred_key, self._order or self._orders.prediction(sample, self.pred_key))

    def reference(self, sample: Mapping[str, Any]) -> list[np.ndarray | None]:
        """What it is compared with; the same."""
        return self._read(sample, self.gt_key, self._order or self._orders.reference(sample, self.gt_key))

    def _read(self, images: Mapping[str, Any], key: str, order: ChannelOrder) -> list[np.ndarray | None]:
        if key not in images:
            known = [name for name, value in images.items() if isinstance(value, torch.Tensor) and value.ndim >= 3]
            raise InputError(f"a sample has no image '{key}'", where='val_evaluator', do=suggestion(key, known))
        image = images[key]
        array = image.detach().float().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
        frames = array[None] if array.ndim == 3 else array
        return [to_rgb(frame, axes=self._axes, order=order) for frame in frames]
