"""A whole study from its option file, and what is refused before its first cell."""

from __future__ import annotations

import json

import pytest
from skimage import data

from mea_plugin.study.job import check_study, run_study
from mea_plugin.study.reading import load_study
from mea_plugin.study.results import write_results
from mea_plugin.study.workers import Places
from tests.helpers import call_tool, refused, run_tool, save

pytest.importorskip('mea_plugin.basicsr')


@pytest.fixture
def images(tmp_path):
    """Small query, test and validation images."""
    photographs = {'queries': ('coffee', 'chelsea'), 'tests': ('astronaut',), 'validation': ('rocket',)}
    for folder, names in photographs.items():
        for name in names:
            image = getattr(data, name)()
            save(tmp_path / folder / f'{name}.png', image[100:228, 100:228] if folder == 'tests' else image[:160, :160])
    return tmp_path


def small(study_file, images, **changes):
    options = {
        'queries': {'photographs': {'images': str(images / 'queries'), 'shrink': 2}},
        'budgets': [2],
        'seeds': [0],
        'test_sets': [{'name': 'tests', 'gt': str(images / 'tests')}],
        **changes,
    }
    return study_file(**options)


def test_a_study_from_its_option_file(study_file, images, tmp_path):
    methods = {
        'baseline': {'trials': {'slow': {'override': {'train': {'optim_g': {'lr': 1e-9}}}}, 'fast': {}}},
        'same': {'base': 'baseline'},
        'longer': {'base': 'baseline', 'length': 2},
    }
    tuning = {'test_sets': [{'name': 'v', 'gt': str(images / 'validation')}], 'seeds': [9]}
    file = small(
        study_file, images, methods=methods, tuning=tuning, comparisons=[{'method': 'longer', 'against': 'baseline'}]
    )
    done = run_tool('study', '-opt', file, '--workers', '2', '--threads', '1', timeout=400)
    assert done.returncode == 0, done.stderr
    assert '3 of 3' in (tmp_path / 'out/results/README.md').read_text()
    records = {
        path.name.rpartition('-')[0]: json.loads(path.read_text())
        for path in (tmp_path / 'out/results/cells').iterdir()
    }
    # 'same' comes to the options of 'baseline' and is not trained again.
    assert sorted(records) == [
        'bicubic.psnr.photographs-2.baseline.s0',
        'bicubic.psnr.photographs-2.baseline.s9.trial-fast',
        'bicubic.psnr.photographs-2.baseline.s9.trial-slow',
        'bicubic.psnr.photographs-2.longer.s0',
    ]
    longer, baseline = (records[f'bicubic.psnr.photographs-2.{name}.s0'] for name in ('longer', 'baseline'))
    assert longer['train']['iterations'] == 2 * baseline['train']['iterations']
    assert baseline['options']['manual_seed'] == 0
    assert baseline['test_sets']['tests']['images'] == ['astronaut']
    assert set(baseline['test_sets']['tests']['fidelity']) == {'psnr_rgb', 'ssim_rgb'}
    study = json.loads((tmp_path / 'out/results/study.json').read_text())
    assert study['cells'] == {'wanted': 3, 'finished': 3, 'trials': 2}
    assert study['tuning'][0]['means'].keys() == {'slow', 'fast'}
    # The victim is the trivial model itself.
    assert study['configurations'][0]['trivial'] == {'name': 'bicubic', 'fidelity': {'psnr_rgb': None, 'ssim_rgb': 1.0}}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out/results/cells').iterdir()}
    again = run_study(load_study(file), Places((), 1, 1))
    assert len(again.records) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    write_results(again, [])
    weights = list((tmp_path / 'out/cells').rglob('*.pth'))
    assert len(weights) == 4  # only final weights are kept
    assert not list((tmp_path / 'out/cells').rglob('*.state'))
    # Another study may count them, whatever it calls the method.
    reuse = [str(tmp_path / 'out/results')]
    other = small(study_file, images, methods={'renamed': {}}, output=str(tmp_path / 'other'), reuse=reuse)
    records = run_study(load_study(other), Places((), 1, 1), start=False).records
    assert [(cell.method, record['id']) for cell, record in records.items()] == [('renamed', baseline['id'])]


@pytest.mark.parametrize(
    ('changes', 'texts'),
    [
        ({'budgets': [2, 3]}, ['budget 3 is above the 2 images', 'photographs-3.baseline.s0']),
        (
            {
                'victims': {
                    'lost': {'victim': {'type': 'basicsr', 'network_g': {'type': 'MSRResNet'}, 'weights': 'no.pth'}}
                }
            },
            ['no.pth', 'lost.psnr.photographs-2.baseline.s0'],
        ),
        ({'methods': {'typo': {'override': {'train': {'hf_op': {}}}}}}, ['hf_op', 'photographs-2.typo.s0']),
        ({'surrogates': {'gone': {'opt': 'no_such.yml'}}}, ['no_such.yml', 'bicubic.gone.photographs-2.baseline.s0']),
        ({'surrogates': {'gone': {'option': 'x.yml'}}}, ["'option'", ': surrogates.gone: ']),
        ({'victims': {'flat': {'victim': {'type': 'bicubic', 'scale': 2}}}}, [' 4', ' 2', 'flat.psnr']),
    ],
)
def test_a_cell_that_cannot_run_is_named_before_the_first_starts(study_file, images, tmp_path, capsys, changes, texts):
    file = small(study_file, images, **changes)
    assert call_tool('study', '-opt', file) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    for text in texts:
        assert text in error
    assert not (tmp_path / 'out').exists()


def test_images_are_kept_apart(study_file, images):
    overlapping = small(
        study_file,
        images,
        test_sets=[{'name': 'tests', 'gt': str(images / 'queries')}],
        queries={'photographs': {'images': str(images / 'queries'), 'shrink': 4}},
    )
    with refused(f'{overlapping}: test_sets', 'tests, ', 'queries.photographs, '):
        run_study(load_study(overlapping), Places((), 1, 1), start=False)


def test_collect_starts_nothing(study_file, images, tmp_path):
    file = small(study_file, images)
    check_study(load_study(file))
    assert call_tool('study', '-opt', file, '--collect') == 0
    assert '0 of 2 cells are finished' in (tmp_path / 'out/results/README.md').read_text()
    assert not (tmp_path / 'out/cells').exists()


def test_a_file_that_is_no_study_cannot_be_reproduced(study_file, tmp_path, capsys):
    other = tmp_path / 'other.json'
    other.write_text('{}')
    assert call_tool('study', '-opt', study_file(), '--reproduce', other) == 2
    assert capsys.readouterr().err.startswith(f'error: {other}: ')
