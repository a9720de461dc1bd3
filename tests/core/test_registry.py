"""The registry that losses, metrics, victims, defences and optimizers share, with packages as pip installs them."""

from __future__ import annotations

import subprocess
import sys
import uuid
from fractions import Fraction

import pytest
import yaml
from PIL import Image

from mea_plugin.core import registry
from mea_plugin.core.errors import InputError
from mea_plugin.core.registry import Registry, ToolboxRegistry
from tests.distributions import install
from tests.helpers import ROOT, photograph, save, write_yaml


class First:
    """An item."""


class Second:
    """Another one."""


@pytest.fixture
def group():
    """A group of entry points that no package uses."""
    return f'example.{uuid.uuid4().hex}'


@pytest.fixture
def shapes(group):
    locations = {'fraction': 'fractions:Fraction', 'lost': 'no_such_module_of_anyone:Thing'}
    return Registry('shape', locations, group=group, expected='a class', accepts=lambda item: isinstance(item, type))


@pytest.fixture
def toolbox():
    """A toolbox's registry, and what it holds."""
    held = {'Taken': int}
    return ToolboxRegistry('Toolbox', held.get, held.__setitem__), held


def test_a_call_and_a_decorator_register(shapes):
    assert shapes.register('first', First) is First
    assert shapes.register('second')(Second) is Second
    assert shapes.names() == ['first', 'fraction', 'lost', 'second']
    assert (shapes.find('first'), shapes.find('second')) == (First, Second)
    assert 'first' in shapes
    assert 'third' not in shapes
    shapes.register('first', First)  # again: nothing changes


@pytest.mark.parametrize('name', ['fraction', 'first'])
def test_a_taken_name_is_refused_and_stays_what_it_was(shapes, name):
    shapes.register('first', First)
    held = shapes.find(name)
    with pytest.raises(InputError) as refused:
        shapes.register(name, Second)
    assert f"'{name}'" in refused.value.what
    assert refused.value.do
    assert shapes.find(name) is held


@pytest.mark.parametrize(('name', 'item'), [('function', print), ('', First), (3, First)])
def test_what_cannot_be_registered(shapes, name, item):
    with pytest.raises(InputError) as refused:
        shapes.register(name, item)
    assert repr(name) in refused.value.what
    assert shapes.names() == ['fraction', 'lost']


def test_several_are_registered_together_or_not_at_all(shapes):
    with pytest.raises(InputError):
        shapes.update({'first': First, 'fraction': Second})
    assert 'first' not in shapes


def test_built_in_items_are_imported_when_they_are_asked_for(shapes, monkeypatch):
    monkeypatch.setattr(registry, 'entry_points', lambda group: pytest.fail('entry points were read'))
    assert shapes.find('fraction') is Fraction
    shapes.register('first', First)
    assert shapes.find('first') is First
    with pytest.raises(InputError) as refused:
        shapes.find('lost', where='run.yml: shape.type')
    assert 'no_such_module_of_anyone' in refused.value.what
    assert refused.value.where == 'run.yml: shape.type'


@pytest.mark.parametrize('name', ['fractoin', ['fraction'], None])
def test_an_unknown_name(shapes, name):
    with pytest.raises(InputError) as refused:
        shapes.find(name, where='run.yml: shape.type')
    assert str(name) in refused.value.what
    assert 'fraction' in refused.value.do
    assert refused.value.where == 'run.yml: shape.type'


def test_a_toolbox_gets_what_was_registered_and_what_will_be(shapes, toolbox):
    shared, held = toolbox
    shapes.register('first', First)
    shapes.share_with(shared)
    shapes.share_with(shared)
    shapes.register('second', Second)
    assert held == {'Taken': int, 'first': First, 'second': Second}


def test_a_name_that_a_toolbox_has_is_refused_everywhere(shapes, toolbox):
    shared, held = toolbox
    other = {}
    shapes.share_with(ToolboxRegistry('Other', other.get, other.__setitem__))
    shapes.share_with(shared)
    with pytest.raises(InputError) as refused:
        shapes.update({'first': First, 'Taken': Second})
    assert 'Toolbox' in refused.value.what
    assert "'Taken'" in refused.value.what
    assert (held, other) == ({'Taken': int}, {})
    assert 'first' not in shapes


def test_a_toolbox_that_comes_later_refuses_a_name_that_it_has(shapes, toolbox):
    shared, held = toolbox
    shapes.update({'first': First, 'Taken': Second})
    with pytest.raises(InputError):
        shapes.share_with(shared)
    assert held == {'Taken': int}


@pytest.fixture
def package(tmp_path, monkeypatch, group):
    """Install a package with a module of its own name; its entry points are of the group."""

    def make(source, **entries):
        name = f'theirs_{uuid.uuid4().hex}'
        install(tmp_path / name, name, source, {group: {key: f'{name}:{value}' for key, value in entries.items()}})
        monkeypatch.syspath_prepend(str(tmp_path / name))
        return name

    return make


def test_an_entry_point_is_listed_unread_and_loaded_by_name(shapes, package, toolbox):
    shared, held = toolbox
    name = package('class Theirs: ...\n', theirs='Theirs', broken='Nothing')
    shapes.share_with(shared)
    assert shapes.names() == ['broken', 'fraction', 'lost', 'theirs']
    assert 'theirs' in shapes
    assert name not in sys.modules
    assert shapes.find('theirs').__module__ == name
    assert held['theirs'] is shapes.find('theirs')


def test_an_entry_point_does_not_replace_what_is_built_in(shapes, package):
    package('class Theirs: ...\n', fraction='Theirs')
    assert shapes.names() == ['fraction', 'lost']
    assert shapes.find('fraction') is Fraction


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        ('import no_such_module_of_anyone\n', 'no_such_module_of_anyone'),
        ('1 / 0\n', 'ZeroDivisionError'),
        ('', 'Theirs'),
        ('Theirs = 3\n', '3'),
        (
            'from mea_plugin.core.errors import InputError\nraise InputError("is damaged", do="Buy another")\n',
            'is damaged',
        ),
    ],
)
def test_a_broken_entry_point_names_its_package(shapes, package, source, reason):
    name = package(source, theirs='Theirs')
    with pytest.raises(InputError) as refused:
        shapes.find('theirs', where='run.yml: shape.type')
    assert name in refused.value.what
    assert reason in refused.value.what
    assert refused.value.where == 'run.yml: shape.type'
    assert refused.value.do
    assert shapes.find('fraction') is Fraction


def test_two_packages_with_one_name(shapes, package):
    names = [package('class Theirs: ...\n', theirs='Theirs') for _ in range(2)]
    with pytest.raises(InputError) as refused:
        shapes.find('theirs')
    assert all(name in refused.value.what for name in names)


GAIN = """
import numpy as np


class GainVictim:
    \"\"\"Multiplies grey levels.\"\"\"

    def __init__(self, gain: float, name: str = 'gain') -> None:
        self.name, self.scale, self.fingerprint = name, 1, f'gain {gain}'
        self.gain = gain

    def query(self, images):
        return [(image * self.gain).clip(0, 255).astype(np.uint8) for image in images]
"""


def query(tmp_path, packages, victim):
    """Run tools/query.py with a package installed."""
    save(tmp_path / 'photos' / '0.png', photograph((16, 20)))
    content = {'name': 'job', 'output': str(tmp_path / 'out'), 'victim': victim}
    file = write_yaml(tmp_path / 'job.yml', {**content, 'queries': {'images': str(tmp_path / 'photos'), 'budget': 1}})
    command = [sys.executable, str(ROOT / 'tools' / 'query.py'), '-opt', str(file)]
    environment = {'PYTHONPATH': f'{ROOT}:{packages}', 'PATH': '', 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=200)


def test_a_tool_queries_the_victim_of_an_installed_package(tmp_path):
    packages = install(tmp_path / 'site', 'gainful', GAIN, {'mea_plugin.victims': {'gain': 'gainful:GainVictim'}})
    ended = query(tmp_path, packages, {'type': 'gain', 'gain': 0.5})
    assert ended.returncode == 0, ended.stderr
    (asked,), (answer,) = ((tmp_path / 'out' / 'queries' / name).glob('*.png') for name in ('query', 'response'))
    pixels = [Image.open(path).getpixel((3, 4)) for path in (asked, answer)]
    assert pixels[1] == tuple(value // 2 for value in pixels[0])
    wrong = query(tmp_path, packages, {'type': 'gain', 'gian': 0.5})
    assert wrong.returncode == 2
    assert 'gain' in wrong.stderr


def test_a_tool_ends_with_one_line_over_a_broken_package(tmp_path):
    packages = install(
        tmp_path / 'site', 'gainful', 'import nothing_of_this_name\n', {'mea_plugin.victims': {'gain': 'gainful:Gain'}}
    )
    ended = query(tmp_path, packages, {'type': 'gain', 'gain': 0.5})
    assert ended.returncode == 2
    assert ended.stderr.count('\n') == 1
    assert 'gainful' in ended.stderr


@pytest.mark.parametrize(
    ('group', 'code'),
    [
        ('losses', 'from mea_plugin.losses.registry import LOSSES as R'),
        ('metrics', 'from mea_plugin.metrics.registry import METRICS as R'),
        ('victims', 'from mea_plugin.victims.registry import VICTIMS as R'),
        ('defences', 'from mea_plugin.defences.registry import DEFENCES as R'),
        ('optimizers', 'from mea_plugin.optim.registry import OPTIMIZERS as R'),
    ],
)
def test_each_kind_has_its_group(tmp_path, group, code):
    packages = install(tmp_path, 'theirs', '', {f'mea_plugin.{group}': {'of_theirs': 'theirs:Nothing'}})
    command = [sys.executable, '-c', f'{code}\nimport yaml, sys\nprint(yaml.safe_dump(R.names()))']
    environment = {'PYTHONPATH': f'{ROOT}:{packages}', 'PATH': ''}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert 'of_theirs' in yaml.safe_load(ended.stdout)
