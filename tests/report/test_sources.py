"""Which files are results, and what is said of those that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.report.sources import read_results
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


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (change_at('format', to=1), r'evaluation.json: is of format 1, not 2\. Run tools/evaluate.py again'),
        (change_at('format'), 'is of format 1, not 2'),
        (change_at('format', to=3), 'is of format 3, not 2'),
        (change_at('protocol'), 'protocol is missing'),
        (change_at('models', 0, 'role'), r'models\[0\].role is missing'),
        (change_at('test_sets', 0, 'count', to='3'), r'test_sets\[0\].count is not as expected'),
        (change_at('test_sets', 0, 'count', to=True), r'test_sets\[0\].count is not as expected'),
        (change_at('test_sets', 0, 'notes', to='few'), r'test_sets\[0\].notes is not as expected'),
        (change_at('test_sets', 0, 'fidelity', 'bicubic', 'images', 'img_000', 'psnr_y', to='x'), 'psnr_y is not'),
        (change_at('test_sets', 0, 'fidelity', 'bicubic', 'interval', 'psnr_y', to=['x', 1]), 'psnr_y.* is not'),
        (change_at('test_sets', 0, 'fidelity', 'nobody', to={}), r'fidelity.nobody.mean is missing'),
        (change_at('test_sets', 0, 'benchmark', to={}), r'benchmark.name is missing'),
        (change_at('test_sets', 0, 'differences', 0, 'metric', to='lpips'), "'lpips' is no model, metric or test set"),
        (change_at('seeds', to={'group': ['nobody']}), "'nobody' is no model"),
        (change_at('pictures', 0, 'answers', 'nobody', to='images/x.png'), "'nobody' is no model"),
        (change_at('pictures', 0, 'set', to='elsewhere'), "'elsewhere' is no model, metric or test set"),
    ],
)
def test_content_of_another_shape_is_refused_with_its_place(tmp_path: Path, change: Any, message: str):
    folder = make_evaluation(tmp_path, count=1, change=change)
    with pytest.raises(InputError, match=message):
        read_results([folder])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (change_at('trajectories', 'proposed', 1, 'loss'), r'trajectories\.proposed\[1\]\.loss is missing'),
        (change_at('trajectories', 'baseline', 0, 'trace', to=3), r'baseline\[0\]\.trace is not as expected'),
        (change_at('trajectories', 'baseline', 0, 'sharpness', '0.05', to='x'), r'sharpness\.0\.05 is not as expected'),
        (change_at('landscapes', 'baseline', 'plane', 'x'), r'landscapes\.baseline\.plane\.x is missing'),
    ],
)
def test_a_damaged_measurement_of_flatness_is_refused_with_its_place(tmp_path: Path, change: Any, message: str):
    path = make_flatness(tmp_path) / 'flatness.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message + r'\. Run tools/flatness\.py again'):
        read_results([tmp_path])


@pytest.mark.parametrize('text', ['', '{', '[]', 'null', '{"format": 2, "name": NaN}', '[' * 100_000, '\xff'])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str):
    (tmp_path / 'evaluation.json').write_text(text, encoding='latin-1')
    with pytest.raises(InputError, match=r'evaluation.json: (is no valid JSON|holds no result)'):
        read_results([tmp_path])


def test_a_folder_without_results_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r'there is no evaluation.json and no flatness.json'):
        read_results([tmp_path])
    with pytest.raises(InputError, match='nowhere: no such folder'):
        read_results([tmp_path / 'nowhere'])
    (tmp_path / 'table.md').write_text('')
    with pytest.raises(InputError, match='table.md: is no result'):
        read_results([tmp_path / 'table.md'])
