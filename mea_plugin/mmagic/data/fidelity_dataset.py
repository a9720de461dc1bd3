"""Validation images with both references: the victim's response for fidelity, the ground truth for task quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmengine.dataset import BaseDataset

from mea_plugin.query_sets.fidelity_pairs import list_fidelity_pairs

__all__ = ['FidelityDataset']


class FidelityDataset(BaseDataset):
    """Queries with the victim's responses and, where there is one, the ground truth: for validation.

    An item gives ``img_path``, ``victim_path`` and ``gt_path``, which a pipeline loads and packs::

        pipeline=[*(dict(type='LoadImageFromFile', key=key, channel_order='rgb') for key in ('img', 'victim', 'gt')),
                  dict(type='PackInputs', data_keys=['victim'])]

    The metrics of this package then take ``gt_key='victim'`` or ``gt_key='gt_img'``. Files belong together by name; in
    a query set (``tools/query.py``), by the names that its queries had.

    Args:
        img: The folder of queries.
        victim: That of the victim's responses.
        gt: That of the ground truth, of the responses' sizes.
        pipeline: MMagic's transforms.
        metainfo: As in MMEngine.
        test_mode: As in MMEngine.

    Raises:
        InputError: The folders do not pair.
    """

    METAINFO: ClassVar = {'dataset_type': 'fidelity', 'task_name': 'sisr'}

    def __init__(
        self,
        img: str,
        victim: str,
        gt: str | None = None,
        pipeline: list[Any] | None = None,
        metainfo: Mapping[str, Any] | None = None,
        test_mode: bool = True,
    ) -> None:
        self._folders = {'lq': img, 'victim': victim, 'gt': gt}
        options: dict[str, Any] = {'metainfo': metainfo, 'pipeline': pipeline or [], 'test_mode': test_mode}
        super().__init__(serialize_data=False, **options)

    def load_data_list(self) -> list[dict[str, str]]:
        """The pairs in the order of their names."""
        pairs = list_fidelity_pairs(self._folders, where='val_dataloader.dataset')
        return [
            {
                'key': pair.name,
                **{'img_path': str(pair.query), 'victim_path': str(pair.victim)},
                **({} if pair.gt is None else {'gt_path': str(pair.gt)}),
            }
            for pair in pairs
        ]
