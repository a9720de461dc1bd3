"""Options are checked against what a factory takes, also where it shares them."""

from __future__ import annotations

import functools
import re

import pytest
import yaml
from typing_extensions import TypedDict, Unpack, get_type_hints

from mea_plugin.core.build import check_type
from mea_plugin.victims import registry
from mea_plugin.victims.network import NetworkOptions
from tests.helpers import refused


class Shared(TypedDict, total=False):
    """Options of several factories."""

    colour: str


class Parent:
    """Its constructor is inherited below."""

    def __init__(self, size: int, **options: Unpack[Shared]) -> None:
        self.given = {'size': size, **options}


class Child(Parent):
    """Without a constructor of its own."""


def function(size: int, **options: Unpack[Shared]) -> Parent:
    return Parent(size, **options)


def anything(size: int, **options) -> Parent:
    return Parent(size, **options)


@pytest.fixture(autouse=True)
def _own_types(monkeypatch):
    monkeypatch.setattr(registry.VICTIMS, '_registered', {})
    for factory in (Parent, Child, function, anything):
        registry.register_victim(factory.__name__, factory)
    registry.register_victim('part', functools.partial(function, size=4))


@pytest.mark.parametrize('kind', ['Parent', 'Child', 'function'])
def test_shared_options(kind):
    assert registry.build_victim({'type': kind, 'size': 3, 'colour': 'red'}).given == {'size': 3, 'colour': 'red'}
    with refused('victim', "'color'", do="'colour'"):
        registry.build_victim({'type': kind, 'size': 3, 'color': 'red'})
    with refused('victim', "'size'", do='size'):
        registry.build_victim({'type': kind, 'colour': 'red'})
    with refused('victim', "'options'", do='colour, size'):
        registry.build_victim({'type': kind, 'size': 3, 'options': {}})


def test_factories_that_take_anything():
    assert registry.build_victim({'type': 'anything', 'size': 3, 'more': 1}).given == {'size': 3, 'more': 1}
    assert registry.build_victim({'type': 'part', 'colour': 'red'}).given == {'size': 4, 'colour': 'red'}


def test_a_taken_name():
    with refused('', "'onnx'"):
        registry.register_victim('onnx', Parent)


def test_the_examples_of_the_documentation(root, monkeypatch):
    """Every type has one, and no option in one is unknown or missing."""
    monkeypatch.setattr(registry.VICTIMS, '_registered', {})
    text = (root / 'docs' / 'victims.md').read_text()
    examples = [yaml.safe_load(block)['victim'] for block in re.findall(r'```yaml\n(.*?)```', text, flags=re.DOTALL)]
    assert {example['type'] for example in examples} == set(registry.victim_types())
    for example in examples:
        check_type(registry.VICTIMS, example, where='victims.md')
    for option in get_type_hints(NetworkOptions):
        assert f'| `{option}` |' in text
