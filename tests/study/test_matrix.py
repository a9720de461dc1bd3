"""The axis of defences: cells, who is asked, what attackers and customers lose, tables and figure."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.errors import InputError
from mea_plugin.evaluation.markup import to_csv
from mea_plugin.evaluation.statistics import paired_difference
from mea_plugin.extract.test_sets import prepare_test_sets
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.study.finished import Results
from mea_plugin.study.grid import Cell, study_cells, surrogate_section
from mea_plugin.study.matrix import attackers_losses, customers_losses
from mea_plugin.study.prepare import Asked, TestSets, asked_of
from mea_plugin.study.reading import load_study
from mea_plugin.study.references import mean_of
from mea_plugin.study.tables import customer_table, defence_table
from mea_plugin.victims import build_victim
from mea_plugin.victims.adapted import AdaptedVictim
from mea_plugin.victims.defended import DefendedVictim
from tests.helpers import call_tool, photograph, refused, run_tool
from tests.learned import squeezenet
from tests.study.test_collect import record

METRICS = find_metrics(['psnr_rgb', 'ssim_rgb'])
KEY = 'a key of the tests'
DEFENCES = {'none': [], 'coarse': [{'type': 'levels', 'levels': 4}], 'noisy': [{'type': 'noise', 'key': KEY}]}
RESIZE = {'type': 'resize', 'factor': 2}
METHODS = {
    'baseline': {},
    'patient': {'attack': {'repeats': 2, 'denoise': 3}},
    'more': {'base': 'patient', 'length': 2},
}


def test_cells_have_defences_and_keep_their_names_without(study_file):
    study = load_study(study_file(defences=DEFENCES, methods=METHODS, seeds=[0], budgets=[4]))
    cells = study_cells(study)
    assert len(cells) == 9
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == 9
    assert 'bicubic.psnr.photographs-4.coarse.baseline.s0' in ids
    assert cells[3].axes['defence'] == 'coarse'
    plain = Cell('v', 'psnr', 'nature', 5, 'both', 1)
    assert plain.id == 'v.psnr.nature-5.both.s1'
    assert 'defence' not in plain.axes


def test_who_is_asked(study_file):
    study = load_study(study_file(defences=DEFENCES, methods=METHODS, seeds=[0], budgets=[4]))
    asked = {(cell.defence, cell.method): asked_of(study, cell) for cell in study_cells(study)}
    assert asked['none', 'baseline'] == Asked('bicubic')
    assert asked['coarse', 'baseline'] == Asked('bicubic', 'coarse')
    assert asked['noisy', 'patient'] == asked['noisy', 'more'] == Asked('bicubic', 'noisy', 2, 3)
    folders = {one.folder for one in asked.values()}
    assert folders == {
        *('bicubic', 'bicubic+x2+denoised-3', 'bicubic+coarse', 'bicubic+coarse+x2+denoised-3'),
        *('bicubic+noisy', 'bicubic+noisy+x2+denoised-3'),
    }


@pytest.mark.parametrize(
    ('changes', 'where', 'quoted'),
    [
        ({'defences': {'coarse': DEFENCES['coarse']}}, 'defences', ''),
        ({'defences': {'a.b': []}}, 'defences', "'a.b'"),
        ({'defences': {'none': None}}, 'defences.none', 'None'),
        ({'methods': {'a': {'attack': {'repeat': 2}}}}, 'methods.a.attack', "'repeat'"),
        ({'methods': {'a': {'attack': {'repeats': 0}}}}, 'methods.a.attack.repeats', '0'),
        ({'methods': {'a': {'attack': {'knows': 'all'}}}}, 'methods.a.attack.knows', "'all'"),
        ({'defences': {'none': []}, 'exclude': [{'defence': 'jpeg'}]}, 'exclude[0].defence', "'jpeg'"),
    ],
)
def test_what_is_refused(study_file, changes, where, quoted):
    file = study_file(**changes)
    with pytest.raises(InputError) as caught:
        load_study(file)
    assert caught.value.where == f'{file}: {where}'
    assert quoted in caught.value.what


@pytest.mark.parametrize(
    ('changes', 'texts'),
    [
        ({'defences': {'none': [], 'bad': [{'type': 'jpeg', 'quality': 0}]}}, ['[0].quality: ', '.bad.baseline.s0']),
        ({'methods': {'a': {'attack': {'repeats': 4}}}, 'budgets': [3]}, ['budget 3', ' 4 ', 'photographs-3.a.s0']),
    ],
)
def test_a_cell_that_cannot_run_is_named(study_file, tmp_path, capsys, changes, texts):
    pytest.importorskip('mea_plugin.basicsr')
    assert call_tool('study', '-opt', study_file(**changes)) == 2
    error = capsys.readouterr().err
    assert all(text in error for text in texts)
    assert error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def planted(losses, seeds=(0, 1, 2, 3, 4), images=12):
    """Cells whose fidelity a defence lowers by a planted number of decibels."""
    generator = np.random.default_rng(0)
    records = {}
    for seed in seeds:
        base = 30 + generator.normal(0, 2, images) + generator.normal()
        for defence, loss in {'none': 0.0, **losses}.items():
            for method, gain in (('baseline', 0.0), ('both', 0.5)):
                cell = Cell('v', 'psnr', 'nature', 5, method, seed, defence=defence)
                records[cell] = record(base + gain - loss + generator.normal(0, 0.05, images))
    return Results(records, list(records))


def test_attackers_lose_what_was_planted():
    results = planted({'jpeg': 1.5, 'useless': 0.0})
    found = {
        (one['defence'], one['method']): one['metrics']['psnr_rgb']
        for one in attackers_losses(results, 'none', METRICS, {'baseline': 'baseline', 'both': 'both'})
    }
    assert found.keys() == {(d, m) for d in ('jpeg', 'useless') for m in ('baseline', 'both')}
    assert found['jpeg', 'baseline']['mean'] == pytest.approx(-1.5, abs=0.05)
    assert found['jpeg', 'both']['verdict'] == 'worse'
    assert found['useless', 'both']['verdict'] == 'undecided'
    first, second = (
        results.matrix(('v', 'psnr', 'nature', 5, defence), 'both', 'psnr_rgb', range(5))
        for defence in ('jpeg', 'none')
    )
    expected = paired_difference(first - second, np.zeros(12))
    assert found['jpeg', 'both']['interval'] == pytest.approx([expected.low, expected.high], abs=1e-4)
    assert found['jpeg', 'both']['p_holm'] >= round(found['jpeg', 'both']['p'], 4)


def test_who_adapts_is_measured_by_who_need_not(study_file):
    study = load_study(study_file(defences=DEFENCES, methods={**METHODS, 'plus': {'base': 'baseline', 'length': 2}}))
    assert [study.unadapted(one) for one in ('baseline', 'patient', 'more', 'plus')] == [
        *('baseline', 'patient', 'more', 'plus')
    ]
    methods = {'baseline': {}, 'knowing': {'base': 'baseline', 'attack': {'knows': True}}}
    assert load_study(study_file(defences=DEFENCES, methods=methods)).unadapted('knowing') == 'baseline'
    # 'both' is planted 0.5 dB above the baseline: adapting gives back some of what the defence takes
    (found,) = attackers_losses(planted({'jpeg': 1.5}), 'none', METRICS, {'both': 'baseline'})
    assert found['method'] == 'both'
    assert found['metrics']['psnr_rgb']['mean'] == pytest.approx(-1.0, abs=0.05)


def test_who_knows_the_defences_undoes_them_and_trains_through_them(study_file):
    defences = {
        'none': [],
        'marked': [{'type': 'visible_watermark', 'text': 'mea'}, {'type': 'resize'}, {'type': 'levels'}],
        'noisy': DEFENCES['noisy'],
    }
    methods = {'baseline': {}, 'knowing': {'base': 'baseline', 'attack': {'knows': True}}}
    study = load_study(study_file(defences=defences, methods=methods, seeds=[0], budgets=[4]))
    cells = {(cell.defence, cell.method): cell for cell in study_cells(study)}
    asked = {key: asked_of(study, cell) for key, cell in cells.items()}
    assert asked['marked', 'knowing'] == Asked('bicubic', 'marked', undo=True)
    assert asked['marked', 'knowing'].folder == 'bicubic+marked+undone'
    assert asked['noisy', 'knowing'] == asked['noisy', 'baseline']
    assert asked['none', 'knowing'] == Asked('bicubic')
    sections = {key: surrogate_section(study, cell) for key, cell in cells.items()}
    assert sections['marked', 'knowing']['known_defences'] == [{'type': 'resize'}]
    assert all('known_defences' not in section for key, section in sections.items() if key != ('marked', 'knowing'))


def test_the_table_has_both_losses():
    methods = {'baseline': 'baseline', 'both': 'both'}
    entries = attackers_losses(planted({'jpeg': 1.5}), 'none', METRICS, methods)
    study = {
        'metrics': {'psnr_rgb': {'title': 'RGB-PSNR', 'unit': 'dB', 'better': 'higher', 'digits': 2}},
        'defences': {
            'undefended': 'none',
            'customers': [{'victim': 'v', 'defence': 'jpeg', 'quality': {'psnr_rgb': 33.125}, 'seconds': 1.04}],
            'attackers': entries,
        },
    }
    rows = list(csv.DictReader(io.StringIO(to_csv(defence_table(study)))))
    assert [row['method'] for row in rows] == ['baseline', 'both']
    assert float(rows[0]['lost']) == pytest.approx(-1.5, abs=0.05)
    assert (rows[0]['customer'], rows[0]['seconds']) == ('33.125', '1.04')
    assert not defence_table({**study, 'defences': None}).rows
    (row,) = csv.DictReader(io.StringIO(to_csv(customer_table(study))))
    assert row == {'victim': 'v', 'defence': 'jpeg', 'psnr_rgb': '33.125', 'seconds': '1.04'}
    assert not customer_table({**study, 'defences': None}).rows


def test_what_customers_lose_in_psnr_ssim_and_lpips(study_file, tmp_path, monkeypatch):
    pytest.importorskip('lpips')
    defences = {'none': [], 'fine': [{'type': 'levels', 'levels': 64}], 'coarse': [{'type': 'levels', 'levels': 4}]}
    file = study_file(
        defences=defences,
        metrics=['psnr_rgb', 'ssim_rgb', 'lpips_squeeze'],
        weights={'folder': squeezenet(monkeypatch, tmp_path)},
    )
    study = load_study(file)
    victim = build_victim({'type': 'bicubic', 'scale': 4})
    entries = prepare_test_sets(study.test_sets, tmp_path / 'sets', 4, where='test')
    asked = []

    class Counted:
        name, scale, fingerprint = victim.name, victim.scale, victim.fingerprint

        def query(self, images):
            asked.extend(images)
            return victim.query(images)

    shared = SimpleNamespace(
        study=study,
        victims={'bicubic': Counted()},
        recorded=lambda name: RecordedVictim(Counted(), tmp_path / 'answers'),
        test_sets=TestSets(entries, 'fingerprint'),
        defended=lambda name, defence: DefendedVictim(victim, defences[defence]),
    )
    found = customers_losses(shared, {})
    means = {
        defence: {name: mean_of(one['test_sets'], name) for name in ('psnr_rgb', 'ssim_rgb', 'lpips_squeeze')}
        for defence, one in found['bicubic'].items()
    }
    assert means.keys() == {'fine', 'coarse'}
    assert means['fine']['psnr_rgb'] > 40 > means['coarse']['psnr_rgb']
    assert means['fine']['ssim_rgb'] > means['coarse']['ssim_rgb']
    assert 0 < means['fine']['lpips_squeeze'] < means['coarse']['lpips_squeeze']
    assert all(1 < one['seconds'] < 100 for one in found['bicubic'].values())
    assert len(asked) <= 4 + 5 * 4  # once each, and five times to see how long that takes
    asked.clear()
    assert customers_losses(shared, found) == found  # nothing is measured twice
    assert not asked


def test_an_attacker_averages_fresh_noise_and_counts_every_question():
    bicubic = build_victim({'type': 'bicubic', 'scale': 2})
    image = cv2.GaussianBlur(photograph((40, 48)), (0, 0), 6)  # with texture, denoising takes more than noise
    clean = bicubic.query([image])[0].astype(float)
    fresh = {'type': 'noise', 'sigma': 8, 'key': KEY, 'repeat': 'fresh'}

    def error(**attack):
        defended = build_victim({'type': 'defended', 'victim': {'type': 'bicubic', 'scale': 2}, 'defences': [fresh]})
        answer = AdaptedVictim(defended, **attack).query([image])[0]
        return np.sqrt(((answer - clean) ** 2).mean())

    assert error(repeats=16) < error() / 3
    assert error(denoise=10) < error()
    with refused('attack.repeats', '0'):
        AdaptedVictim(bicubic, repeats=0)
    fingerprints = {AdaptedVictim(bicubic, repeats=n, denoise=d).fingerprint for n in (1, 2) for d in (0, 5)}
    assert len(fingerprints | {bicubic.fingerprint}) == 5


def test_a_study_of_defences_from_its_option_file(study_file, tmp_path):
    pytest.importorskip('mea_plugin.basicsr')
    file = study_file(
        defences={'none': [], 'coarse': [{'type': 'levels', 'levels': 3}, RESIZE]},
        methods={
            'baseline': {},
            'patient': {'attack': {'repeats': 2}},
            'knowing': {'base': 'baseline', 'attack': {'knows': True}},
        },
        budgets=[2],
        seeds=[0, 1],
    )
    done = run_tool('study', '-opt', file, '--workers', '2', '--threads', '1', timeout=400)
    assert done.returncode == 0, done.stderr
    results = tmp_path / 'out/results'
    study = json.loads((results / 'study.json').read_text())
    assert study['cells']['finished'] == 12
    records = [json.loads(path.read_text()) for path in (results / 'cells').iterdir()]
    assert len(records) == 10  # without a defence there is nothing to know
    knowing = [one for one in records if one['axes']['method'] == 'knowing']
    assert all(one['options']['train']['known_defences'] == [RESIZE] for one in knowing)
    assert {one['defence'] for one in study['configurations']} == {'none', 'coarse'}
    (customer,) = study['defences']['customers']
    assert 10 < customer['quality']['psnr_rgb'] < 25  # three levels
    assert customer['seconds'] > 0
    assert {one['method'] for one in study['defences']['attackers']} == {'baseline', 'patient', 'knowing'}
    # The victim that is measured against is the undefended one, for all.
    assert len({path.name for path in (tmp_path / 'out/answers').iterdir()}) == 1
    queries = {path.name for path in (tmp_path / 'out/queries').iterdir()} - {'ledger'}
    assert queries >= {'bicubic', 'bicubic+coarse', 'bicubic+x2', 'bicubic+coarse+x2'}
    assert 'What defences take' in (results / 'README.md').read_text()
    with Image.open(results / 'defences.png') as picture:
        assert np.ptp(np.asarray(picture.convert('L'))) > 100
