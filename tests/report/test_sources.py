"""Which files are results, and what is said of those that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mea_plugin.core.records import sealed
from mea_plugin.report.sources import read_results
from tests.helpers import refused
from tests.report.results import make_evaluation, make_extraction, make_flatness


def test_a_file_its_folder_and_its_extraction_are_one_result(tmp_path: Path):
    folder = make_extraction(tmp_path / 'run', queries=11)
    evaluation = folder / 'evaluation'
    results = read_results([folder, evaluation, evaluation / 'evaluation.json'])
    assert [source.name for source in results.sources] == ['study']
    extraction = results.sources[0].extraction
    assert extraction is not None
    assert extraction.queries == 11
    assert extraction.description['queries'] == {'images': 'photos', 'budget': 11}
    assert extraction.surrogates['baseline']['train']['optim_g'] == {'type': 'Adam', 'lr': 0.001}
    assert extraction.surrogates['proposed']['optim_wrapper'] == {'type': 'SAMOptimWrapper', 'rho': 0.05}


def test_an_mmagic_config_is_read_and_not_run(tmp_path: Path):
    folder = make_extraction(tmp_path / 'run', queries=1)
    (folder / 'surrogates' / 'proposed.py').write_text("a = (1, 2)\nb = open('ran', 'w')\nraise SystemExit\n")
    extraction = read_results([folder]).sources[0].extraction
    assert extraction is not None
    assert extraction.surrogates['proposed'] == {'a': (1, 2), 'b': "open('ran', 'w')"}
    assert not Path('ran').exists()


def test_an_incomplete_query_set_has_no_number_of_queries(tmp_path: Path):
    folder = make_extraction(tmp_path / 'run', queries=2)
    manifest = json.loads((folder / 'queries' / 'manifest.json').read_text())
    (folder / 'queries' / 'manifest.json').write_text(json.dumps({**manifest, 'complete': False}))
    extraction = read_results([folder]).sources[0].extraction
    assert extraction is not None
    assert extraction.queries is None


def test_results_come_in_the_order_given_and_flatness_with_them(tmp_path: Path):
    evaluations = [
        make_evaluation(tmp_path / name, count=1, change=lambda content, name=name: content.update(name=name))
        for name in 'ba'
    ]
    flat = make_flatness(tmp_path / 'flat')
    results = read_results([evaluations[0], flat, evaluations[1]])
    assert [source.name for source in results.sources] == ['b', 'a']
    assert [one['name'] for one in results.flatness] == ['flat']
    make_flatness(tmp_path / 'run' / 'flatness')
    make_evaluation(tmp_path / 'run' / 'evaluation', count=1)
    both = read_results([tmp_path / 'run'])
    assert (len(both.sources), len(both.flatness)) == (1, 1)


def change_at(*path: Any, to: Any = None) -> Any:
    """A change of one value of the content; without a value, it is removed."""

    def change(content: Any) -> None:
        *way, last = path
        for key in way:
            content = content[key]
        if to is None:
            del content[last]
        else:
            content[last] = to

    return change


SCORES = ('test_sets', 0, 'fidelity', 'bicubic')
PLACE = 'test_sets[0].fidelity.bicubic'
DIFFERENCE = ('test_sets', 0, 'differences', 0)


@pytest.mark.parametrize(
    ('change', 'where', 'quoted'),
    [
        (change_at('format', to=1), '', '1'),
        (change_at('format'), '', '1'),
        (change_at('format', to=4), '', '4'),
        (change_at('protocol'), '', "'protocol'"),
        (change_at('models', 0, 'role'), 'models[0]', "'role'"),
        (change_at('models', 0, 'role', to='judge'), 'models[0].role', "'judge'"),
        (change_at('test_sets', 0, 'count', to='3'), 'test_sets[0].count', "'3'"),
        (change_at('test_sets', 0, 'count', to=True), 'test_sets[0].count', 'True'),
        (change_at('test_sets', 0, 'notes', to='few'), 'test_sets[0].notes', "'few'"),
        (change_at(*SCORES, 'images', 'img_000', 'psnr_y', to='x'), f'{PLACE}.images.img_000.psnr_y', "'x'"),
        (change_at(*SCORES, 'interval', 'psnr_y', to=['x', 1]), f'{PLACE}.interval.psnr_y[0]', "'x'"),
        (change_at(*SCORES, 'interval', 'psnr_y', to=[1]), f'{PLACE}.interval.psnr_y', '[1]'),
        (change_at('test_sets', 0, 'fidelity', 'nobody', to={}), 'test_sets[0].fidelity.nobody', "'mean'"),
        (change_at('test_sets', 0, 'benchmark', to={}), 'test_sets[0].benchmark', "'name'"),
        (change_at(*DIFFERENCE, 'verdict', to='won'), 'test_sets[0].differences[0].verdict', "'won'"),
        (change_at(*DIFFERENCE, 'metric', to='lpips'), '', "'lpips'"),
        (change_at(*DIFFERENCE, 'first', to='nobody'), '', "'nobody'"),
        (change_at('seeds', to={'group': ['nobody']}), '', "'nobody'"),
        (change_at('pictures', 0, 'answers', 'nobody', to='images/x.png'), '', "'nobody'"),
        (change_at('pictures', 0, 'set', to='elsewhere'), '', "'elsewhere'"),
    ],
)
def test_content_of_another_shape_is_refused_with_its_place(tmp_path: Path, change: Any, where: str, quoted: str):
    path = make_evaluation(tmp_path, count=1, change=change) / 'evaluation.json'
    with refused(f'{path}: {where}' if where else path, quoted, do='tools/evaluate.py'):
        read_results([tmp_path])


@pytest.mark.parametrize(
    ('change', 'where', 'quoted'),
    [
        (change_at('trajectories', 'proposed', 1, 'loss'), 'trajectories.proposed[1]', "'loss'"),
        (change_at('trajectories', 'baseline', 0, 'trace', to=3), 'trajectories.baseline[0].trace', '3'),
        (
            change_at('trajectories', 'baseline', 0, 'sharpness', '0.05', to='x'),
            'trajectories.baseline[0].sharpness.0.05',
            "'x'",
        ),
        (change_at('landscapes', 'baseline', 'plane', 'x'), 'landscapes.baseline.plane', "'x'"),
    ],
)
def test_a_damaged_measurement_of_flatness_is_refused_with_its_place(
    tmp_path: Path, change: Any, where: str, quoted: str
):
    path = make_flatness(tmp_path) / 'flatness.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(sealed(content)))
    with refused(f'{path}: {where}', quoted, do='tools/flatness.py'):
        read_results([tmp_path])


@pytest.mark.parametrize('text', ['', '{', '{"format": 2, "name": NaN}', '[' * 100_000, '\xff'])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str):
    path = tmp_path / 'evaluation.json'
    path.write_text(text, encoding='latin-1')
    with refused(path, 'JSON', do='tools/evaluate.py'):
        read_results([tmp_path])


@pytest.mark.parametrize('text', ['[]', 'null'])
def test_json_that_holds_no_result_is_refused(tmp_path: Path, text: str):
    path = tmp_path / 'evaluation.json'
    path.write_text(text)
    with refused(path, do='tools/evaluate.py') as caught:
        read_results([tmp_path])
    assert 'JSON' not in caught.value.what


def test_a_folder_without_results_is_refused(tmp_path: Path):
    with refused(tmp_path, 'evaluation.json', 'flatness.json', do='tools/evaluate.py'):
        read_results([tmp_path])
    with refused(tmp_path / 'nowhere'):
        read_results([tmp_path / 'nowhere'])
    (tmp_path / 'table.md').write_text('')
    with refused(tmp_path / 'table.md', do=('evaluation.json', 'flatness.json')):
        read_results([tmp_path / 'table.md'])
