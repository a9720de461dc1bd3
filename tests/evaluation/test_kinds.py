"""Metrics of every kind: of pairs, of one image, of a model, of whole sets; and those that cannot be computed here."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import read_rgb, write_png
from mea_plugin.evaluation import EvaluationSet, evaluate, job, options
from mea_plugin.evaluation.document import summary
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.ceiling import noisy
from mea_plugin.metrics.metric import Metric
from mea_plugin.query.recorded import RecordedVictim
from tests.helpers import refused


def make_metric(name, kind, measure=lambda *_: 1.0, **more):
    known = {'title': name, 'unit': '', 'digits': 2, 'better': 'lower', 'protocol': f'protocol of {name}', **more}
    return Metric(name=name, kind=kind, measure=measure, **known)


class Means:
    """Stands for the features of a network: the mean of each image."""

    def __init__(self):
        self.values = []
        self.closed = False

    def add(self, image):
        self.values.append(image.mean())

    def close(self):
        self.closed = True


class Extractor:
    """Remembers what was collected, and where features were to be kept."""

    def __init__(self):
        self.made, self.caches = [], []

    def collect(self, cache):
        self.made.append(Means())
        self.caches.append(cache)
        return self.made[-1]


def set_metrics():
    """Two metrics that share an extractor: the distance of the means, and the number of images."""
    extractor = Extractor()
    return extractor, [
        make_metric('far', 'set', lambda a, b: np.mean(a.values) - np.mean(b.values), extractor=extractor),
        make_metric('many', 'set', lambda a, b: 100 * len(a.values) + len(b.values), extractor=extractor),
    ]


def means(comparisons, metric):
    return {name: one.means[metric].value for name, one in comparisons.items() if metric in one.means}


def test_metrics_of_sets_compare_with_the_victim_and_with_the_truth(enlarger, make_set):
    folder = make_set()
    extractor, metrics = set_metrics()
    result, _ = evaluate(
        enlarger(),
        {'ours': enlarger(offset=3)},
        [EvaluationSet('toy', folder / 'lq', folder / 'gt')],
        baselines={'base': enlarger(offset=5)},
        metrics=metrics,
        cache=folder / 'features',
    )
    (found,) = result.sets
    assert means(found.fidelity, 'far') == {'base': pytest.approx(5), 'ours': pytest.approx(3)}
    truth = np.mean([read_rgb(path).mean() for path in (folder / 'gt').iterdir()])
    victim = np.mean([read_rgb(path).mean() for path in (folder / 'lq').iterdir()])
    expected = {name: pytest.approx(victim + more - truth) for name, more in (('base', 5), ('victim', 0), ('ours', 3))}
    assert means(found.quality, 'far') == expected
    assert set(means(found.quality, 'many').values()) == {303}
    assert len(extractor.made) == 4  # base, victim, ours and the truth, each once for both metrics
    assert all(one.closed for one in extractor.made)
    assert set(extractor.caches) == {folder / 'features'}
    content = found.to_json()
    assert set(content['quality']['ours']['mean']) == {'far', 'many'}
    assert content['quality']['ours']['images'] == content['quality']['ours']['interval'] == {}
    assert found.differences == []


def test_metrics_of_sets_compare_with_the_target_where_there_is_one(enlarger, make_set, tmp_path):
    folder = make_set()
    for index in range(5):
        write_png(tmp_path / 'target' / f'{index}.png', np.full((20, 30, 3), 40 + index, np.uint8))
    sets = [EvaluationSet('toy', folder / 'lq', target=tmp_path / 'target')]
    _, metrics = set_metrics()
    result, _ = evaluate(enlarger(), {'ours': enlarger(offset=3)}, sets, metrics=[*find_metrics(['psnr_y']), *metrics])
    (found,) = result.sets
    victim = np.mean([read_rgb(path).mean() for path in (folder / 'lq').iterdir()])
    assert means(found.quality, 'far') == {'victim': pytest.approx(victim - 42), 'ours': pytest.approx(victim - 39)}
    assert set(means(found.quality, 'many').values()) == {305}
    assert means(found.quality, 'psnr_y') == {}
    assert means(found.fidelity, 'far') == {'ours': pytest.approx(3)}
    text = summary(result.to_json())
    assert '**toy, task quality (how close to the images of the target folder).**' in text
    # with both, images are compared with the ground truth, and sets with the target
    sets = [EvaluationSet('toy', folder / 'lq', folder / 'gt', tmp_path / 'target')]
    result, _ = evaluate(enlarger(), {}, sets, metrics=[*find_metrics(['psnr_y']), *metrics])
    assert means(result.sets[0].quality, 'far') == {'victim': pytest.approx(victim - 42)}
    assert math.isfinite(means(result.sets[0].quality, 'psnr_y')['victim'])


def test_metrics_of_a_model_ask_it_again(enlarger, make_set):
    folder = make_set(sizes=((16, 20),))

    def measure(ask, query, answer):
        again = ask(query[::-1].copy())
        return float(np.abs(again[::-1].astype(int) - answer).max())

    class Tilted(enlarger):
        def query(self, images):
            answers = super().query(images)
            for answer in answers:
                answer[0] += 7
            return answers

    ours = Tilted()
    result, _ = evaluate(
        enlarger(),
        {'ours': ours},
        [EvaluationSet('toy', folder / 'lq')],
        metrics=[make_metric('tilt', 'model', measure)],
    )
    (found,) = result.sets
    assert means(found.own, 'tilt') == {'victim': 0.0, 'ours': 7.0}
    assert found.fidelity == {}
    assert ours.asked == [(16, 20, 3)] * 2


def test_a_model_that_may_be_paid_is_not_asked_again(enlarger, make_set, tmp_path):
    folder = make_set()
    asked = enlarger()
    metrics = [make_metric('tilt', 'model'), make_metric('mean', 'single', lambda planes: planes.image.mean())]
    for _ in range(2):
        victim = RecordedVictim(asked, tmp_path / 'ledger')
        result, _ = evaluate(
            victim, {'ours': enlarger(offset=1)}, [EvaluationSet('toy', folder / 'lq')], metrics=metrics
        )
    assert len(asked.asked) == 3
    (found,) = result.sets
    assert set(means(found.own, 'tilt')) == {'ours'}
    assert set(means(found.own, 'mean')) == {'victim', 'ours'}
    rows = [line for line in summary(result.to_json()).splitlines() if line.startswith('| victim')]
    assert rows[0].split('|')[2].strip() == '-'


def test_metrics_of_one_image_need_no_reference(enlarger, make_set):
    folder = make_set()
    metric = make_metric('mean', 'single', lambda planes: float(planes.image.mean()))
    result, _ = evaluate(enlarger(), {}, [EvaluationSet('toy', folder / 'lq')], metrics=[metric])
    (found,) = result.sets
    for path in (folder / 'lq').iterdir():
        expected = read_rgb(path).repeat(2, 0).repeat(2, 1)[2:-2, 2:-2].mean()
        assert found.own['victim'].images[path.stem]['mean'] == pytest.approx(expected)


def test_what_is_meant_for_the_victim_is_not_measured_on_the_truth(enlarger, make_set):
    folder = make_set()
    metrics = [make_metric('gap', 'pair', fidelity_only=True)]
    result, _ = evaluate(
        enlarger(), {'ours': enlarger(offset=1)}, [EvaluationSet('toy', folder / 'lq', folder / 'gt')], metrics=metrics
    )
    assert result.sets[0].quality == {}
    assert means(result.sets[0].fidelity, 'gap') == {'ours': 1.0}
    with refused('test_sets.toy', do=('victim', 'gt')):
        evaluate(None, {'ours': enlarger()}, [EvaluationSet('toy', folder / 'lq', folder / 'gt')], metrics=metrics)


def test_what_cannot_be_computed_reads_n_a_and_is_not_called(enlarger, make_set):
    folder = make_set()

    def fail(*_):
        raise AssertionError('must not be called')

    missing = 'weights: put net.pth into FOLDER'
    lost = [
        make_metric('deep', 'pair', fail, missing=missing),
        make_metric('wide', 'set', fail, missing=missing, extractor=None),
        make_metric('blind', 'single', fail, missing='pip install blind'),
    ]
    metrics = [*find_metrics(['psnr_y']), *lost, make_metric('mean', 'single', lambda planes: 1.0)]
    result, _ = evaluate(
        enlarger(), {'ours': enlarger(offset=1)}, [EvaluationSet('toy', folder / 'lq', folder / 'gt')], metrics=metrics
    )
    text = summary(result.to_json())
    fidelity, _, rest = text.partition('task quality')
    quality, _, own = rest.partition('answers by themselves')
    for name, reason in (('deep', missing), ('wide', missing), ('blind', 'pip install blind')):
        assert text.count(f'{name}: n/a ({reason})') == 1
    for part in (fidelity, quality):
        (row,) = [line for line in part.splitlines() if line.startswith('| ours')]
        assert [cell.strip() for cell in row.split('|')[3:5]] == ['n/a', 'n/a']
        assert '| blind' not in part
    (row,) = [line for line in own.splitlines() if line.startswith('| ours')]
    assert sorted(cell.strip() for cell in row.split('|')[2:4]) == ['1.00', 'n/a']
    content = result.to_json()
    assert content['protocol']['metrics']['deep']['missing'] == missing
    assert set(content['test_sets'][0]['fidelity']['ours']['mean']) == {'psnr_y'}
    json.dumps(content, allow_nan=False)


def test_the_ceiling_is_a_row_of_the_noisy_victim(enlarger, make_set):
    folder = make_set()
    result, rows = evaluate(
        enlarger(), {'ours': enlarger(offset=1)}, [EvaluationSet('toy', folder / 'lq', folder / 'gt')], ceiling=True
    )
    (found,) = result.sets
    assert [model.role for model in result.models] == ['victim', 'surrogate', 'ceiling']
    assert list(found.fidelity) == ['ours', 'ceiling']
    assert list(found.quality) == ['victim', 'ours']
    for path in (folder / 'lq').iterdir():
        answer = read_rgb(path).repeat(2, 0).repeat(2, 1)
        error = (noisy(answer).astype(float) - answer)[2:-2, 2:-2]
        expected = 10 * math.log10(255**2 / np.mean(error**2))
        assert found.fidelity['ceiling'].images[path.stem]['psnr_rgb'] == pytest.approx(expected)
    assert set(rows[0].answers) == {'victim', 'ours'}
    assert not [one for one in found.differences if 'ceiling' in (one.first, one.second)]
    with refused('surrogates.ceiling', "'ceiling'"):
        evaluate(enlarger(), {'ceiling': enlarger()}, [EvaluationSet('toy', folder / 'lq')], ceiling=True)


def test_images_on_which_a_metric_is_not_defined_are_counted(enlarger, make_set):
    folder = make_set()
    values = iter([math.nan, 2.0, 4.0, *[math.nan] * 3])
    metric = make_metric('some', 'single', lambda planes: next(values))
    for expected, undefined in ((3.0, 1), (math.nan, 3)):
        result, _ = evaluate(enlarger(), {}, [EvaluationSet('toy', folder / 'lq')], metrics=[metric])
        mean = result.sets[0].own['victim'].means['some']
        assert (mean.value, mean.undefined) == (pytest.approx(expected, nan_ok=True), undefined)
        assert f'victim, some: not defined on {undefined} of 3 images.' in summary(result.to_json())
        content = result.to_json()['test_sets'][0]['own']['victim']
        assert content['undefined'] == {'some': undefined}
        assert content['images']['00'] == {'some': None}


@pytest.mark.parametrize('kind', ['pair', 'single', 'model'])
def test_an_error_in_a_metric_ends_the_run(enlarger, make_set, kind):
    folder = make_set()

    def fail(*_):
        raise InputError('cannot go on', where='metric')

    with refused('metric', 'cannot go on'):
        evaluate(
            enlarger(),
            {'ours': enlarger()},
            [EvaluationSet('toy', folder / 'lq')],
            metrics=[make_metric('m', kind, fail)],
        )


def test_all_metrics_run_on_small_images(make_set, monkeypatch, tmp_path):
    """What is too small for one of them, or lacks weights, is said, and the run goes on."""
    monkeypatch.setenv('MEA_METRIC_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = make_set(sizes=((16, 20), (60, 70)))
    done = job.evaluate_from_options(
        {
            'name': 'all',
            'victim': {'type': 'enlarger'},
            'surrogates': {'ours': {'type': 'enlarger', 'offset': 3}},
            'baselines': {},
            'test_sets': [{'name': 'toy', 'lq': str(folder / 'lq'), 'gt': str(folder / 'gt')}],
            'metrics': 'all',
            'ceiling': True,
        },
        tmp_path / 'out',
    )
    assert 'n/a (weights: ' in done.table
    assert list(done.result.metrics) == options.metric_names()
    assert max(map(len, [line for line in done.table.splitlines() if line.startswith('|')])) <= 120
    assert '- LPIPS (AlexNet) (lower is better): ' in done.paths.markdown.read_text()
    own = done.result.sets[0].own
    assert math.isinf(own['ours'].means['flip_psnr'].value)  # pixel repetition commutes with flips


def test_a_table_of_metrics_that_are_all_missing_says_so(enlarger, make_set, tmp_path):
    folder = make_set()
    missing = 'weights: put net.pth into FOLDER'
    wide, blind = make_metric('wide', 'set', missing=missing), make_metric('blind', 'single', missing=missing)
    style = EvaluationSet('toy', folder / 'lq', None, folder / 'gt')
    models = {'ours': enlarger(offset=1)}
    result, _ = evaluate(enlarger(), models, [style], metrics=[wide, blind], ceiling=True)
    (found,) = result.sets
    assert (list(found.fidelity), list(found.quality), list(found.own)) == (
        ['ours', 'ceiling'],
        ['victim', 'ours'],
        ['victim', 'ours'],
    )
    assert found.fidelity['ours'].means == {}
    text = summary(result.to_json())
    for part in re.split(r'(?=\*\*toy, )', text)[1:]:
        assert re.search(r'^\| ours +\| +n/a \|$', part, re.MULTILINE)
    assert text.count(f'n/a ({missing})') == 2
    plain = EvaluationSet('toy', folder / 'lq')
    result, _ = evaluate(enlarger(), models, [plain], metrics=[wide])
    assert (list(result.sets[0].fidelity), result.sets[0].quality, result.sets[0].own) == (['ours'], {}, {})
