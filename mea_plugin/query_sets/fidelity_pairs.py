"""Validation images with two references each: the victim's response, and the ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import check_pair, image_size, list_images
from mea_plugin.core.pairs import by_name, check_paired
from mea_plugin.core.paths import expanded
from mea_plugin.query_sets.layout import MANIFEST, QuerySet, check_whole

__all__ = ['FidelityPair', 'list_fidelity_pairs']


@dataclass(frozen=True)
class FidelityPair:
    """One query, and what an answer to it is compared with.

    Attributes:
        name: Without the extension.
        query: The image that victim and surrogate are asked about.
        victim: The victim's response.
        gt: The ground truth, where there is one.
    """

    name: str
    query: Path
    victim: Path
    gt: Path | None


def list_fidelity_pairs(
    folders: Mapping[str, str | Path | None], *, scale: int | None = None, crops: bool = False, where: str
) -> list[FidelityPair]:
    """Pair three folders by the names of their images.

    The folders ``query`` and ``response`` of a query set hold numbers; there, the names are those that the queries had
    where they came from, as its manifest has them.

    Args:
        folders: ``lq``, ``victim`` and ``gt``; the last may be None.
        scale: What a response's height and width divided by its query's are; None: sizes are not looked at.
        crops: Whether the data set cuts from a ground truth what the scale leaves over.
        where: The option that names them, for errors.

    Returns:
        The pairs in the order of their names. Only headers were read.

    Raises:
        InputError: A folder is missing or empty, a query set is incomplete, names do not pair, or a size is wrong.
    """
    for key, folder in folders.items():
        if not isinstance(folder, str | Path | None):
            raise InputError(f'{key} is {folder!r}', where=where, do='Give the path of a folder')
    paths = {key: _named(Path(folder), f'{where}.{key}') for key, folder in folders.items() if folder is not None}
    queries = paths['lq']
    sides = {'queries': queries, **{f'images of {key}': others for key, others in paths.items() if key != 'lq'}}
    check_paired(sides, where=where, do='Give equal names, or ask the victim about the images in lq')
    truths = paths.get('gt', {})
    pairs = [FidelityPair(name, queries[name], paths['victim'][name], truths.get(name)) for name in sorted(queries)]
    for pair in pairs if scale is not None else ():
        _check_sizes(pair, int(scale or 1), crops)
    return pairs


def _named(folder: Path, where: str) -> dict[str, Path]:
    folder = expanded(folder)
    names: dict[str, str] = {}
    if folder.name in ('query', 'response') and (folder.parent / MANIFEST).is_file():
        check_whole(folder.parent)
        manifest = QuerySet(folder.parent).manifest() or {}
        names = {pair['id']: Path(pair['name']).name for pair in manifest.get('pairs', ())}
    return by_name(list_images(folder, where=where), lambda path: names.get(path.stem, path.stem))


def _check_sizes(pair: FidelityPair, scale: int, crops: bool) -> None:
    query = image_size(pair.query)
    check_pair(query, image_size(pair.victim), scale, where=pair.victim)
    if pair.gt is not None:
        size = image_size(pair.gt)
        if crops:
            size = (size[0] // scale * scale, size[1] // scale * scale)
        check_pair(query, size, scale, where=pair.gt)
