"""A query set as MMagic's pipelines read it: pairs, or pairs that are shown unpaired."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from mea_plugin.core.paths import expanded
from mea_plugin.query_sets.layout import list_pairs

__all__ = ['QuerySetDataset']


class QuerySetDataset(BaseDataset):
    """Queries and responses, each response known to belong to its query.

    Item ``i`` gives ``img_query_path`` and ``img_response_path``. With ``unpaired`` these are those of query ``i`` and
    of a response ``j`` drawn at random (``i`` itself in ``test_mode``), and ``paired_response_path`` and
    ``paired_query_path`` are the response to query ``i`` and the query behind response ``j``. Augment ``img_query``
    with ``paired_response``, and ``img_response`` with ``paired_query``, by transforms of their own; ``FixedCrop``
    crops all its keys alike, MMagic's ``Crop`` draws a position for each.

    Args:
        data_root: The query set's folder.
        pipeline: MMagic's transforms.
        unpaired: For CycleGAN.
        query_dir: The folder of queries in ``data_root``.
        response_dir: That of the responses; equal names belong together.
        test_mode: As in MMEngine.

    Raises:
        InputError: A folder is missing or empty, the set is incomplete, names do not pair, or a response has not the
            size of its query.
    """

    def __init__(
        self,
        data_root: str,
        pipeline: list[Any],
        unpaired: bool = False,
        query_dir: str = 'query',
        response_dir: str = 'response',
        test_mode: bool = False,
    ) -> None:
        self.unpaired = unpaired
        self._folders = tuple(expanded(data_root) / name for name in (query_dir, response_dir))
        super().__init__(data_root=str(data_root), pipeline=pipeline, test_mode=test_mode, serialize_data=False)

    def load_data_list(self) -> list[dict[str, str]]:
        """The pairs in the order of their names."""
        pairs = list_pairs(*self._folders, where='dataset.data_root')
        return [{'query': str(query), 'response': str(response)} for query, response in pairs]

    @staticmethod
    def keys(unpaired: bool) -> tuple[str, ...]:
        """The images that an item gives, as a pipeline's loaders name them."""
        pairs = ('img_query', 'paired_response', 'img_response', 'paired_query')
        return pairs if unpaired else ('img_query', 'img_response')

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The paths of one item."""
        first = super().get_data_info(idx)
        if not self.unpaired:
            return {**_paths(img_query=first['query'], img_response=first['response']), 'sample_idx': idx}
        other = first if self.test_mode else super().get_data_info(int(np.random.randint(len(self))))  # noqa: NPY002
        paths = _paths(img_query=first['query'], paired_response=first['response'])
        return {**paths, **_paths(img_response=other['response'], paired_query=other['query']), 'sample_idx': idx}


def _paths(**images: str) -> dict[str, str]:
    return {f'{key}_path': path for key, path in images.items()}
