"""What stands beside the cells: the best model without training, and distances with their floor."""

from __future__ import annotations

import numpy as np
import pytest

from mea_plugin.study.grid import study_cells
from mea_plugin.study.prepare import build_victims, prepare
from mea_plugin.study.reading import load_study
from mea_plugin.study.references import measure_references
from tests.helpers import save

pytest.importorskip('mea_plugin.basicsr')


@pytest.fixture
def images(tmp_path):
    generator = np.random.default_rng(0)
    for folder in ('queries', 'tests', 'training'):
        for number in range(4):
            grey = generator.integers(0, 256, (12, 12, 3), np.uint8)
            save(tmp_path / folder / f'{number}.png', np.kron(grey, np.ones((4, 4, 1), np.uint8)))
    return tmp_path


def measured(study_file, images, victim, **changes):
    file = study_file(
        victims={'v': {'victim': victim, 'trained_on': {'images': str(images / 'training')}}},
        queries={'near': {'images': str(images / 'training')}, 'other': {'images': str(images / 'queries')}},
        budgets=[2],
        seeds=[0],
        **changes,
    )
    study = load_study(file)
    cells = study_cells(study)
    return prepare(study, cells, build_victims(study, cells))


def network(folder, name, answer):
    """A victim of scale 1."""
    code = f'import torch\n\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return {answer}\n'
    (folder / f'{name}.py').write_text(code)
    return {'type': 'python', 'entry': f'{name}:Net', 'path': str(folder), 'scale': 1, 'trusted': True}


@pytest.mark.parametrize(
    ('answer', 'best'),
    [('0.3 + 0.05 * x', 'one colour'), ('x.clamp(0.01, 0.99)', 'query unchanged')],
)
def test_the_trivial_model_is_the_better_of_two(study_file, images, tmp_path, answer, best):
    shared = measured(
        study_file,
        images,
        network(tmp_path, best.replace(' ', '_'), answer),
        test_sets=[{'name': 't', 'lq': str(images / 'tests')}],
    )
    assert measure_references(shared).trivial['v']['name'] == best


def test_distances_have_a_floor_and_are_not_measured_twice(study_file, images, monkeypatch):
    shared = measured(
        study_file, images, {'type': 'bicubic', 'scale': 4}, test_sets=[{'name': 't', 'gt': str(images / 'tests')}]
    )
    found = measure_references(shared)
    assert found.trivial['v']['name'] == 'bicubic'
    assert found.distances['v']['near'] == pytest.approx(0, abs=1e-3)
    assert found.floors['v'] > 0
    assert found.distances['v']['other'] > 0
    monkeypatch.setattr('mea_plugin.study.references.image_features', None)
    monkeypatch.setattr('mea_plugin.study.references.evaluate', None)
    assert measure_references(shared) == found
