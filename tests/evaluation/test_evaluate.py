"""Models with known answers: their scores, how often they are asked, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mea_plugin.core.images import read_rgb, write_png
from mea_plugin.evaluation import EvaluationSet, evaluate, stream
from mea_plugin.metrics.psnr_ssim import psnr, ssim
from tests.helpers import refused


def both(folder):
    return EvaluationSet(folder.name, folder / 'lq', folder / 'gt')


def only_lq(folder):
    return EvaluationSet(folder.name, folder / 'lq')


def test_fidelity_is_measured_against_the_victim(enlarger, make_set):
    result, _ = evaluate(
        enlarger(), {'one off': enlarger(offset=1), 'two off': enlarger(offset=2)}, [only_lq(make_set())]
    )
    (found,) = result.sets
    assert list(found.fidelity) == ['one off', 'two off']
    assert found.quality == {}
    assert found.count == 3
    for offset, name in enumerate(found.fidelity, start=1):
        assert found.fidelity[name].means['psnr_rgb'].value == pytest.approx(20 * math.log10(255 / offset))
        assert found.fidelity[name].means['psnr_y'].value == pytest.approx(20 * math.log10(255 / offset * 255 / 219))


def test_quality_is_measured_against_the_ground_truth(enlarger, make_set):
    folder = make_set(scale=2, gt_more=(1, 1))
    surrogate, baseline = enlarger(offset=9), enlarger(offset=3)
    result, _ = evaluate(enlarger(), {'ours': surrogate}, [both(folder)], baselines={'bicubic': baseline})
    (found,) = result.sets
    assert list(found.quality) == ['bicubic', 'victim', 'ours']
    assert list(found.fidelity) == ['bicubic', 'ours']
    for path in sorted((folder / 'lq').iterdir()):
        (answer,) = surrogate.query([read_rgb(path)])
        truth = read_rgb(folder / 'gt' / path.name)[: answer.shape[0], : answer.shape[1]]
        for channel in ('y', 'rgb'):
            values = found.quality['ours'].images[path.stem]
            assert values[f'psnr_{channel}'] == pytest.approx(psnr(answer, truth, border=2, channel=channel))
            assert values[f'ssim_{channel}'] == pytest.approx(ssim(answer, truth, border=2, channel=channel))


def test_every_model_is_asked_once_about_each_image(enlarger, make_set):
    models = [enlarger(offset=offset) for offset in range(4)]
    victim, *others = models
    sets = [both(make_set('first')), both(make_set('second', sizes=((30, 16),)))]
    evaluate(victim, {'a': others[0], 'b': others[1]}, sets, baselines={'c': others[2]})
    for model in models:
        assert model.asked == [(16, 20, 3), (18, 16, 3), (20, 24, 3), (30, 16, 3)]


def test_the_models_are_described_in_the_order_of_the_tables(enlarger, make_set):
    result, _ = evaluate(
        enlarger(name='MSRResNet'), {'ours': enlarger(offset=1)}, [both(make_set())], baselines={'bi': enlarger()}
    )
    rows = [(model.name, model.role, model.title, model.fingerprint) for model in result.models]
    assert rows == [
        ('bi', 'baseline', 'enlarger', '2/0'),
        ('victim', 'victim', 'MSRResNet', '2/0'),
        ('ours', 'surrogate', 'enlarger', '2/1'),
    ]


def test_the_sets_fingerprint_is_that_of_its_pixels(enlarger, make_set):
    def fingerprint(test_set):
        return evaluate(enlarger(), {'ours': enlarger(offset=1)}, [test_set])[0].sets[0].fingerprint

    folder = make_set()
    with_gt, without_gt = fingerprint(both(folder)), fingerprint(only_lq(folder))
    assert with_gt != without_gt
    assert fingerprint(both(folder)) == with_gt
    image = read_rgb(folder / 'gt' / '00.png')
    write_png(folder / 'gt' / '00.png', image)
    assert fingerprint(both(folder)) == with_gt
    image[0, 0, 0] ^= 1
    write_png(folder / 'gt' / '00.png', image)
    assert fingerprint(both(folder)) != with_gt
    assert fingerprint(only_lq(folder)) == without_gt


def test_the_picture_has_the_wanted_rows_with_the_scores_of_whole_images(enlarger, make_set):
    sets = [both(make_set('first')), only_lq(make_set('second'))]
    result, rows = evaluate(enlarger(), {'ours': enlarger(offset=5)}, sets, panel_images=3)
    assert [row.title for row in rows] == ['first, 00', 'first, 02', 'second, 01']
    first = result.sets[0]
    assert rows[1].to_victim == {'ours': first.fidelity['ours'].images['02']['psnr_y']}
    assert rows[1].to_truth == {name: first.quality[name].images['02']['psnr_y'] for name in ('victim', 'ours')}
    assert rows[2].to_truth == {}
    assert rows[2].truth is None


def test_nothing_is_cropped_at_scale_1(enlarger, make_set):
    class Spoiler(enlarger):
        def query(self, images):
            answers = super().query(images)
            for answer in answers:
                answer[0] = 255
            return answers

    folder = make_set(scale=1)
    result, _ = evaluate(enlarger(scale=1), {'ours': Spoiler(scale=1)}, [only_lq(folder)])
    assert result.protocol.border == 0
    assert math.isfinite(result.sets[0].fidelity['ours'].means['psnr_y'].value)
    result, _ = evaluate(enlarger(scale=2), {'ours': Spoiler(scale=2)}, [only_lq(folder)])
    assert result.protocol.border == 2
    assert result.sets[0].fidelity['ours'].means['psnr_y'].value == math.inf


@pytest.mark.parametrize('workers', [1, 7])
def test_no_number_depends_on_the_threads(enlarger, make_set, monkeypatch, workers):
    sets = [both(make_set('first', sizes=((20, 24),) * 9))]
    models = {'a': enlarger(offset=1), 'b': enlarger(offset=2)}
    expected, rows = evaluate(enlarger(), models, sets, ceiling=True)
    monkeypatch.setattr(stream, 'worker_count', lambda: workers)
    found, others = evaluate(enlarger(), models, sets, ceiling=True)
    assert found.to_json() == expected.to_json()
    assert [row.title for row in rows] == [row.title for row in others]


def test_scales_must_agree(enlarger, make_set):
    with refused('study.yml: surrogates.ours', '4', '2'):
        evaluate(enlarger(), {'ours': enlarger(scale=4)}, [both(make_set())], where='study.yml')


@pytest.mark.parametrize(
    ('surrogates', 'baselines', 'where', 'name'),
    [
        (['victim'], [], 'surrogates.victim', "'victim'"),
        ([], ['victim'], 'baselines.victim', "'victim'"),
        (['a'], ['a'], 'surrogates.a', "'a'"),
    ],
)
def test_names_must_differ(enlarger, make_set, surrogates, baselines, where, name):
    surrogates, baselines = ({key: enlarger() for key in keys} for keys in (surrogates, baselines))
    with refused(where, name):
        evaluate(enlarger(), surrogates, [both(make_set())], baselines=baselines)


def test_two_sets_of_one_name_are_refused(enlarger, make_set):
    folder = make_set()
    with refused('test_sets', "'toy'"):
        evaluate(enlarger(), {}, [both(folder), both(folder)])


def test_there_must_be_something_to_compare(enlarger, make_set):
    folder = make_set()
    with refused('test_sets.toy', 'victim', do=('surrogate', 'gt')):
        evaluate(enlarger(), {}, [only_lq(folder)])
    with refused('test_sets', do='lq'):
        evaluate(enlarger(), {'ours': enlarger()}, [])
    result, _ = evaluate(enlarger(), {}, [both(folder)])
    assert list(result.sets[0].quality) == ['victim']


@pytest.mark.parametrize('spoil', [lambda a: a[1:], lambda a: a.astype(np.float32), lambda a: a[..., 0]])
def test_an_answer_of_another_kind_is_refused(enlarger, make_set, spoil):
    class Odd(enlarger):
        def query(self, images):
            return [spoil(answer) for answer in super().query(images)]

    folder = make_set()
    with refused(folder / 'lq' / '00.png', "'ours'", 'uint8 (32, 40, 3)', do='ours'):
        evaluate(enlarger(), {'ours': Odd()}, [both(folder)])


def test_a_bad_image_is_met_before_any_model_runs(enlarger, make_set):
    folder = make_set()
    bad = folder / 'gt' / '02.png'
    bad.write_bytes(bad.read_bytes()[:60])
    victim = enlarger()
    with refused(bad):
        evaluate(victim, {'ours': enlarger()}, [both(folder)])
    assert victim.asked == []
