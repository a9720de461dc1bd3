"""Metrics of this package for MMagic's validation: of a prediction and its reference.

Predictions and references are rounded to whole grey levels, as files hold them; their channels are followed from the
loader on. What cannot be computed is NaN, and the log says why, once.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_number
from mea_plugin.metrics.families import Family, families
from mea_plugin.metrics.planes import Channel
from mea_plugin.mmagic.metrics.image_order import ImageOrders
from mea_plugin.mmagic.metrics.sample_images import SampleImages
from mea_plugin.training.logged_metrics import ChannelOrder, check_weights, logged_metric

__all__ = ['PAIR_METRICS', 'ImageMetric', 'PairMetric', 'warn']

_ORDERS = ('bgr', 'rgb')
_AXES = ('CHW', 'HWC')
_CHANNELS: dict[str, Channel] = {'RGB': 'rgb', 'Y': 'y'}
_DEVICES = ('cpu', 'gpu')


class ImageMetric(BaseSampleWiseMetric):
    """What the metrics of this package have in common.

    They work with models of super-resolution and of translation, in one pass with MMagic's sample-wise metrics and each
    other, and with several processes, which get what one gets.

    Attributes:
        better: Which values are better.
        texts: The options that are texts, or None.
    """

    better: ClassVar[str] = 'higher'
    texts: ClassVar[Sequence[str]] = ('prefix',)

    def __init__(
        self,
        gt_key: str = 'gt_img',
        pred_key: str = 'pred_img',
        collect_device: str = 'cpu',
        prefix: str | None = None,
        input_order: str = 'CHW',
        channel_order: ChannelOrder | None = None,
    ) -> None:
        super().__init__(gt_key=gt_key, pred_key=pred_key, collect_device=collect_device, prefix=prefix)
        self._look = functools.partial(SampleImages, pred_key, gt_key, axes=input_order, channel_order=channel_order)

    def prepare(self, module: Any, dataloader: Any) -> None:
        """As MMagic's; and find out how the images' channels lie."""
        super().prepare(module, dataloader)
        self.images = self._look(orders=ImageOrders(self.data_preprocessor, dataloader.dataset))

    @classmethod
    def check(cls, options: Mapping[str, Any], where: str) -> None:
        """Check the values of a config's options.

        Raises:
            InputError: One cannot be used.
        """
        for key in ('gt_key', 'pred_key', *cls.texts):
            value = options.get(key, '')
            if not isinstance(value, str) and (value is not None or key not in cls.texts):
                raise InputError(f'{key} is {value!r}', where=where, do='Give one text')
        choices = {'input_order': _AXES, 'channel_order': (None, *_ORDERS), 'collect_device': _DEVICES}
        for key, known in choices.items():
            value = options.get(key, known[0])
            if value not in known:
                raise InputError(f'{key} is {value!r}', where=where, do=suggestion(str(value), filter(None, known)))


class PairMetric(ImageMetric):
    """A metric of a prediction and its reference.

    Args:
        gt_key: The reference: ``gt_img``, the victim's response (``victim`` of a ``FidelityDataset``), or an image of a
            translation's domain (``img_response``).
        pred_key: The prediction: ``pred_img``, or ``fake_DOMAIN`` of a translation model.
        collect_device: ``cpu`` or ``gpu``, where ranks put their results together.
        prefix: Before the name in the log, such as ``fidelity``.
        crop_border: Pixels to cut at each edge.
        input_order: ``CHW`` or ``HWC``.
        convert_to: ``Y``, or None for what the metric is defined on: all three channels, or Y if nothing else.
        channel_order: Of the images, where it is not what the pipeline and the pre-processor tell: ``bgr`` or ``rgb``.

    Attributes:
        family: What it measures.
    """

    family: ClassVar[Family]
    _own: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        gt_key: str = 'gt_img',
        pred_key: str = 'pred_img',
        collect_device: str = 'cpu',
        prefix: str | None = None,
        crop_border: int = 0,
        input_order: str = 'CHW',
        convert_to: str | None = None,
        channel_order: ChannelOrder | None = None,
    ) -> None:
        super().__init__(gt_key, pred_key, collect_device, prefix, input_order, channel_order)
        self.crop_border = crop_border
        self._logged = logged_metric(*self._source({'convert_to': convert_to, **self._own}))
        self._logged.announce(warn)

    @classmethod
    def _source(cls, options: Mapping[str, Any]) -> tuple[str, str | None]:
        """The name in :mod:`mea_plugin.metrics`, and the folder of weights."""
        channels = options.get('convert_to')
        channel = None if channels is None else _CHANNELS.get(str(channels).upper())
        if channels is not None and channel not in cls.family.channels:
            raise InputError(f'{cls.metric} is not defined on {channels!r}', do='Remove convert_to')
        return cls.family.find(channel, options.get('net')), options.get('weights')

    @classmethod
    def check(cls, options: Mapping[str, Any], where: str) -> None:
        """As :meth:`ImageMetric.check`."""
        super().check(options, where)
        check_number({'crop_border': 0, **options}, 'crop_border', where, least=0)
        try:
            name, weights = cls._source(options)
        except InputError as error:
            raise InputError(error.what, where=where, do=error.do) from None
        check_weights([name], weights, where=where)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Measure a batch; of several frames, the mean."""
        for sample in data_samples:
            pairs = zip(self.images.prediction(sample), self.images.reference(sample), strict=True)
            values = [self._logged(*pair, border=self.crop_border, warn=warn) for pair in pairs]
            self.results.append({self.metric: sum(values) / len(values)})


class LearnedPairMetric(PairMetric):
    """A metric with weights, without a network connection.

    Args:
        net: The backbone, where there are several: for LPIPS ``alex``, ``vgg`` or ``squeeze``.
        weights: The folder of its weight files; None: where ``MEA_METRIC_WEIGHTS`` points to. Without them: NaN.
        kwargs: As :class:`PairMetric`.
    """

    def __init__(self, net: str | None = None, weights: str | None = None, **kwargs: Any) -> None:
        self._own = {'net': net, 'weights': weights}
        super().__init__(**kwargs)


def _metric(family: Family) -> type[PairMetric]:
    """The class for MMagic."""
    base = LearnedPairMetric if family.takes_weights else PairMetric
    members = ', '.join(member.name for member in family.members)
    text = f'{members} of :mod:`mea_plugin.metrics`; see :class:`{base.__name__}` for the arguments.'
    own = {'__doc__': text, '__module__': __name__, 'metric': family.label, 'better': family.better, 'family': family}
    return type(family.label, (base,), own)


PAIR_METRICS = tuple(_metric(family) for family in families().values() if family.kind == 'pair')
"""One for each family of the catalogue that compares two images."""


def __getattr__(name: str) -> type[PairMetric]:
    for metric in PAIR_METRICS:
        if metric.__name__ == name:
            return metric
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def warn(text: str) -> None:
    """Write a warning into MMEngine's log; the first rank alone."""
    if is_main_process():
        print_log(text, 'current', logging.WARNING)
