"""In which order the colour channels of the images are that a validation compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmagic.structures import DataSample

from mea_plugin.training.logged_metrics import ChannelOrder

__all__ = ['ImageOrders']


class ImageOrders:
    """Follows the channels from the pipeline that loads them to the metric.

    MMagic means all images that reach a metric to be BGR. They are where the pre-processor knows how they were loaded,
    which it reads off a note that ``PackInputs`` packs for ``img`` and ``gt`` alone. Other images stay as they were
    loaded: those of translation models, and any that the pre-processor does not list in its ``data_keys``. A metric of
    Y, or a network that knows colours, would silently take red for blue.

    Args:
        preprocessor: The model's.
        dataset: The validation's, with the pipeline.
    """

    def __init__(self, preprocessor: Any, dataset: Any) -> None:
        self._target = getattr(preprocessor, 'output_channel_order', None)
        self._converted = tuple(getattr(preprocessor, 'data_keys', None) or ())
        self._loaded = _loaded_orders(dataset)

    def reference(self, sample: Mapping[str, Any], key: str) -> ChannelOrder:
        """The order of an image of the data set.

        Args:
            sample: What the model gave for it: its images and notes.
            key: The image's.
        """
        note = _note(sample, key)
        loaded = self._loaded.get(key) or note or 'bgr'
        return _order(loaded, swapped=key in self._converted and (note or 'bgr') != 'bgr')

    def prediction(self, sample: Mapping[str, Any], key: str) -> ChannelOrder:
        """The order of an image that the model made.

        Args:
            sample: What the model gave: its images and notes.
            key: The image's: ``fake_DOMAIN`` of a translation model, or any other.
        """
        image = f'img_{key.removeprefix("fake_")}' if key.startswith('fake_') else 'img'
        note = _note(sample, image)
        loaded = self._loaded.get(image) or note or next(iter(self._loaded.values()), 'bgr')
        before = self._target is not None and str(self._target).lower() != (note or 'bgr')
        after = str(sample.get(f'{image}_output_channel_order') or 'bgr').lower() != 'bgr'
        return _order(loaded, swapped=before != after)


def _note(sample: Mapping[str, Any], key: str) -> str | None:
    order = sample.get('gt_channel_order' if key == 'gt_img' else f'{key}_channel_order')
    return str(order).lower() if order else None


def _order(loaded: str, *, swapped: bool) -> ChannelOrder:
    return 'rgb' if (loaded == 'rgb') != swapped else 'bgr'


def _loaded_orders(dataset: Any) -> dict[str, str]:
    """By the names that images have in a sample, what the pipeline's loaders make of them."""
    while dataset is not None and not hasattr(dataset, 'pipeline'):  # RepeatDataset and its like
        dataset = getattr(dataset, 'dataset', None)
    orders = {}
    for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        order = getattr(step, 'channel_order', None)
        if not isinstance(order, str):
            continue
        domains = [getattr(step, f'domain_{side}', None) for side in 'ab']  # two images in one file
        keys = [f'img_{domain}' for domain in domains if domain] or [str(getattr(step, 'key', ''))]
        orders.update({DataSample.DATA_KEYS.get(key, key): order.lower() for key in keys})
    return orders
