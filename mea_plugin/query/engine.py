"""Sends images to a victim, within a budget, and keeps every answer as soon as it is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mea_plugin.data.resize import downscale
from mea_plugin.errors import InputError
from mea_plugin.files import hash_array
from mea_plugin.images import image_size, read_rgb
from mea_plugin.query.query_set import Pair, QuerySet
from mea_plugin.victims import Victim

__all__ = ['run_queries']


def run_queries(
    victim: Victim,
    images: Mapping[str, Path],
    folder: str | Path,
    *,
    budget: int | None = None,
    shrink: int = 1,
    batch_size: int = 8,
    move_other_aside: bool = False,
    options: Mapping[str, Any] | None = None,
) -> QuerySet:
    """Ask the victim about images and keep its answers as a query set.

    Interrupted, it goes on where it was: a query whose answer is on disk is not sent again.

    Args:
        victim: Who is asked.
        images: Name to file. In the order of their names the first ``budget`` are sent.
        folder: Where the query set goes.
        budget: How many queries may be sent in all; None for as many as there are images.
        shrink: Each image is shrunk by this factor first (MATLAB's bicubic), for attackers whose own images are larger
            than what the victim is meant to be asked.
        batch_size: How many images go into one call of the victim.
        move_other_aside: Rename a folder that holds another query set, instead of refusing it; nothing paid is lost.
        options: What the user asked for, to be noted in the manifest.

    Returns:
        The complete query set.

    Raises:
        InputError: A budget below 1, an image that cannot be read, an answer of the wrong size, or a folder that holds
            something else. Nothing is sent before every image's header has been read.
    """
    if budget is not None and budget < 1:
        raise InputError(f'the budget is {budget}', where='queries.budget', do='Give at least 1 query')
    if shrink < 1:
        raise InputError(f'shrink is {shrink}', where='queries.shrink', do='Give 1 or more')
    chosen = dict(sorted(images.items())[:budget])
    for path in chosen.values():
        if min(image_size(path)) < shrink:
            raise InputError(f'is too small to be shrunk {shrink} times', where=path, do='Remove the image')
    if len(chosen) < len(images):
        print(f'The budget of {budget} covers the first {len(chosen)} of {len(images)} images.')

    queries = QuerySet(folder)
    description = _describe(victim, shrink)
    if move_other_aside and not queries.can_hold(description, list(chosen)):
        queries.move_aside()
    queries.begin(description, list(chosen))
    pairs: list[Pair] = []
    with tqdm(total=len(chosen), desc=f'query {victim.name}', unit='query', disable=not sys.stderr.isatty()) as bar:
        for chunk in _chunks(chosen, shrink, batch_size):
            pairs += _answer(victim, queries, chunk)
            bar.update(len(chunk))
    queries.finish(pairs, description, options or {})
    return queries


def _describe(victim: Victim, shrink: int) -> dict[str, Any]:
    return {
        'victim': {'name': victim.name, 'scale': victim.scale, 'fingerprint': victim.fingerprint},
        'shrink': shrink,
    }


def _chunks(images: Mapping[str, Path], shrink: int, size: int) -> Iterator[list[tuple[str, str, np.ndarray]]]:
    """Lists of (id, name, query), a few at a time so that memory does not grow with the set."""
    chunk: list[tuple[str, str, np.ndarray]] = []
    for index, (name, path) in enumerate(images.items()):
        image = read_rgb(path)
        chunk.append((f'{index:06d}', name, downscale(image, shrink) if shrink > 1 else image))
        if len(chunk) == size or index + 1 == len(images):
            yield chunk
            chunk = []


def _answer(victim: Victim, queries: QuerySet, chunk: list[tuple[str, str, np.ndarray]]) -> list[Pair]:
    """The pairs of a chunk; only those that are not on disk are asked for."""
    hashes = {identifier: hash_array(query) for identifier, _, query in chunk}
    responses = {identifier: queries.stored(identifier, hashes[identifier]) for identifier, _, _ in chunk}
    missing = [(identifier, query) for identifier, _, query in chunk if responses[identifier] is None]
    answers = victim.query([query for _, query in missing]) if missing else []
    for (identifier, query), answer in zip(missing, answers, strict=True):
        _check_answer(victim, query, answer)
        queries.store(identifier, query, answer)
        responses[identifier] = answer
    pairs = []
    for identifier, name, _ in chunk:
        response = responses[identifier]
        assert response is not None
        size = (response.shape[0], response.shape[1])
        pairs.append(Pair(identifier, name, hashes[identifier], hash_array(response), size))
    return pairs


def _check_answer(victim: Victim, query: np.ndarray, answer: np.ndarray) -> None:
    expected = (query.shape[0] * victim.scale, query.shape[1] * victim.scale, 3)
    if answer.dtype != np.uint8 or answer.shape != expected:
        raise InputError(
            f'answered {answer.dtype} {answer.shape} to a query of {query.shape}; expected uint8 {expected}',
            where=f'victim {victim.name}',
            do='Check its scale',
        )
