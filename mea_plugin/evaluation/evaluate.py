"""Measure models that speak the victim protocol against the victim and against the ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from mea_plugin.errors import InputError
from mea_plugin.evaluation.crops import PanelRow, choose_rows, cut_row
from mea_plugin.evaluation.metrics import Channel, Planes, Score, compare
from mea_plugin.evaluation.pairs import EvaluationSet, ImagePair, check_pairs, list_pairs, load_pair
from mea_plugin.evaluation.results import Comparison, EvaluatedModel, EvaluationResult, Protocol, SetResult
from mea_plugin.files import hash_array, hash_json
from mea_plugin.victims import Victim

__all__ = ['VICTIM', 'evaluate']

VICTIM = 'victim'
"""How tables and pictures call the victim."""

_Scores = dict[str, dict[Channel, Score]]


@dataclass(frozen=True)
class _Measured:
    """One image, everything that was measured on it, and its row of the picture if it is shown."""

    fingerprint: str
    fidelity: _Scores
    quality: _Scores
    row: PanelRow | None


def evaluate(
    victim: Victim,
    surrogates: Mapping[str, Victim],
    test_sets: Sequence[EvaluationSet],
    *,
    baselines: Mapping[str, Victim] | None = None,
    name: str = 'evaluation',
    panel_images: int | Sequence[str] = 4,
    where: str = '',
) -> tuple[EvaluationResult, list[PanelRow]]:
    """Measure fidelity (surrogates and baselines against the victim) and task quality (all against the ground truth).

    Every image's header is checked before the first model runs; then they stream: one image in memory at a time, each
    model asked once about it.

    Args:
        victim: The reference of fidelity.
        surrogates: Networks trained to behave like it, by name.
        test_sets: Where the images are; task quality is measured on those with ground truth.
        baselines: Models to beat, such as bicubic interpolation, by name.
        name: What the evaluation is called.
        panel_images: How many images the picture shows, or the names of those that it shows.
        where: The option file, for errors.

    Returns:
        The scores, and the rows of the picture (for :func:`mea_plugin.evaluation.panel.draw_panel`).

    Raises:
        InputError: Scales differ, a name is taken twice, there is nothing to compare, a test set cannot be used, or an
            answer is no image of the right size.
    """
    prefix = f'{where}: ' if where else ''
    models, described = _gather(victim, surrogates, baselines or {}, prefix)
    _check_sets(test_sets, models, prefix)
    listed = [list_pairs(one, where=f'{prefix}test_sets.{one.name}') for one in test_sets]
    names = [[pair.name for pair in pairs] for pairs in listed]
    chosen = choose_rows(names, panel_images, where=f'{prefix}panel.images')
    protocol = Protocol(victim.scale)
    for pairs in listed:
        check_pairs(pairs, protocol)
    sets, rows = [], []
    with tqdm(total=sum(map(len, listed)), desc='evaluate', unit='image', disable=None) as bar:
        for index, (test_set, pairs) in enumerate(zip(test_sets, listed, strict=True)):
            measured = {}
            for pair in pairs:
                title = f'{test_set.name}, {pair.name}' if (index, pair.name) in chosen else None
                measured[pair.name] = _measure(models, pair, protocol, title)
                bar.update()
            sets.append(_summarise(test_set.name, measured))
            rows += [one.row for one in measured.values() if one.row]
    return EvaluationResult(name, protocol, described, sets), rows


def _gather(
    victim: Victim, surrogates: Mapping[str, Victim], baselines: Mapping[str, Victim], prefix: str
) -> tuple[dict[str, Victim], list[EvaluatedModel]]:
    """All models by name, in the order of tables and pictures: baselines, victim, surrogates."""
    models: dict[str, Victim] = {}
    described = []
    for role, members in (('baseline', baselines), ('victim', {VICTIM: victim}), ('surrogate', surrogates)):
        for name, model in members.items():
            option = f'{prefix}{role}s.{name}'
            if name in models or (name == VICTIM and role != 'victim'):
                raise InputError(f"the name '{name}' is taken", where=option, do='Choose another name')
            if model.scale != victim.scale:
                raise InputError(
                    f'its scale is {model.scale}, the victim has {victim.scale}',
                    where=option,
                    do='Compare models of one scale',
                )
            models[name] = model
            described.append(EvaluatedModel(name, role, model.name, model.fingerprint))
    return models, described


def _check_sets(test_sets: Sequence[EvaluationSet], models: Mapping[str, Victim], prefix: str) -> None:
    names = [one.name for one in test_sets]
    if not names:
        raise InputError('there is no test set', where=f'{prefix}test_sets', do='Add one: its name and a folder lq')
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two test sets are called '{name}'", where=f'{prefix}test_sets', do='Rename one')
    for one in test_sets:
        if one.gt is None and len(models) == 1:
            raise InputError(
                'nothing to compare the victim with', where=f'{prefix}test_sets.{one.name}', do='Add a surrogate or gt'
            )


def _measure(models: Mapping[str, Victim], pair: ImagePair, protocol: Protocol, title: str | None) -> _Measured:
    """Ask every model about one image and compare the answers; with a title, also cut its row of the picture."""
    query, truth = load_pair(pair, protocol.scale)
    answers = {name: _answer(name, model, query, pair) for name, model in models.items()}
    victim_planes = Planes(answers[VICTIM], border=protocol.border)
    truth_planes = None if truth is None else Planes(truth, border=protocol.border)
    fidelity, quality = {}, {}
    for name, answer in answers.items():
        planes = victim_planes if name == VICTIM else Planes(answer, border=protocol.border)
        if name != VICTIM:
            fidelity[name] = compare(planes, victim_planes)
        if truth_planes:
            quality[name] = compare(planes, truth_planes)
    row = None
    if title:
        to_truth, to_victim = ({name: one['y'].psnr for name, one in scores.items()} for scores in (quality, fidelity))
        row = cut_row(title, query, truth, answers, VICTIM, to_truth=to_truth, to_victim=to_victim)
    hashes = [pair.name, hash_array(query), None if truth is None else hash_array(truth)]
    return _Measured(hash_json(hashes), fidelity, quality, row)


def _answer(name: str, model: Victim, query: np.ndarray, pair: ImagePair) -> np.ndarray:
    (answer,) = model.query([query])
    expected = (query.shape[0] * model.scale, query.shape[1] * model.scale, 3)
    if answer.dtype != np.uint8 or answer.shape != expected:
        raise InputError(
            f"'{name}' answered {answer.dtype} {answer.shape}, not uint8 {expected}",
            where=pair.lq,
            do=f'Correct the scale or the output of {name}',
        )
    return answer


def _summarise(name: str, measured: Mapping[str, _Measured]) -> SetResult:
    """From images to models."""
    first = next(iter(measured.values()))
    return SetResult(
        name=name,
        count=len(measured),
        fingerprint=hash_json([one.fingerprint for one in measured.values()]),
        fidelity={key: Comparison({n: one.fidelity[key] for n, one in measured.items()}) for key in first.fidelity},
        quality={key: Comparison({n: one.quality[key] for n, one in measured.items()}) for key in first.quality},
    )
