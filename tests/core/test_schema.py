"""Sections of option files: what is taken, what is refused and where, and what editors are told."""

import importlib
import math
import pkgutil
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

import mea_plugin
from mea_plugin.core import signatures
from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import Flag, FolderName, Images, Number, Options, Section, Text, Whole, refusal, shortened


class Batch(Options):
    """A section within a section."""

    size: Annotated[int, Whole(1)] = 8
    """Images at once."""
    format: Literal['png', 'jpeg'] = 'png'
    """The format."""


class File(Options):
    """A whole file."""

    name: FolderName
    """The run's name."""
    batch: Batch = Batch()
    """Batching."""
    many: tuple[Batch, ...] = ()
    """Several."""
    wait: Annotated[float, Number(above=0, most=100)] = 5.0
    """Seconds."""
    folder: Path = Path('results')
    """A folder."""
    note: str | None = None
    """A text."""
    on: Flag = False
    """A switch."""
    images: Images = 'a'
    """Images."""
    save: Literal['all'] | Annotated[int, Whole(0)] = 0
    """How many, or all."""
    formats: tuple[str, ...] = ()
    """Some texts."""
    victim: Section | None = None
    """Somebody else's."""
    plane: Batch | None = Batch()
    """May be left out with ~."""
    title: Text = ''
    """A text."""
    named: Annotated[dict[FolderName, Batch], Field(min_length=1)] = Field(default={})
    """Sections by name."""
    names: Text | list[Text] = ''
    """One or several."""

    keep_null = ('plane',)


def refused(options: Any, where: str = 'run.yml') -> InputError:
    with pytest.raises(InputError) as caught:
        File.parse_document(options, where)
    return caught.value


def test_values_are_taken_as_the_file_writes_them() -> None:
    given = {
        'name': 2024,
        'batch': {'size': 5e3},
        'folder': 'out',
        'save': 'all',
        'formats': ['a'],
        'wait': 1,
        'note': None,
    }
    options = File.parse_document(given, 'run.yml')
    assert (options.name, options.batch.size, options.folder) == ('2024', 5000, Path('out'))
    assert isinstance(options.batch.size, int)
    assert isinstance(options.wait, float)
    assert (options.save, options.formats, options.note) == ('all', ('a',), None)


def test_nothing_means_the_default_unless_it_has_a_meaning() -> None:
    options = File.parse({'name': 'a', 'batch': None, 'plane': None})
    assert options.batch == Batch()
    assert options.plane is None


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        (5, 'run.yml', '5', 'name, batch'),
        ({}, 'run.yml', "'name'", 'name'),
        ({'name': True}, 'run.yml: name', 'True', ''),
        ({'name': '../x'}, 'run.yml: name', '../x', ''),
        ({'name': 'a', 'batch': {'sise': 3}}, 'run.yml: batch', "'sise'", "'size'"),
        ({'name': 'a', 'batch': {'size': 0}}, 'run.yml: batch.size', '0', '1'),
        ({'name': 'a', 'batch': {'size': True}}, 'run.yml: batch.size', 'True', '1'),
        ({'name': 'a', 'batch': {'size': 1.5}}, 'run.yml: batch.size', '1.5', '1'),
        ({'name': 'a', 'batch': {'format': 'jpg'}}, 'run.yml: batch.format', "'jpg'", "'jpeg'"),
        ({'name': 'a', 'batch': 7}, 'run.yml: batch', '7', 'size, format'),
        ({'name': 'a', 'many': [{}, {'size': 'x'}]}, 'run.yml: many[1].size', "'x'", '1'),
        ({'name': 'a', 'many': {}}, 'run.yml: many', '{}', 'list'),
        ({'name': 'a', 'wait': 0}, 'run.yml: wait', '0', '100'),
        ({'name': 'a', 'wait': math.inf}, 'run.yml: wait', 'inf', '100'),
        ({'name': 'a', 'wait': 10**400}, 'run.yml: wait', '1000', '100'),
        ({'name': 'a', 'folder': 3}, 'run.yml: folder', '3', ''),
        ({'name': 'a', 'note': 3}, 'run.yml: note', '3', ''),
        ({'name': 'a', 'on': 'yes'}, 'run.yml: on', "'yes'", 'true or false'),
        ({'name': 'a', 'images': {}}, 'run.yml: images', '{}', ''),
        ({'name': 'a', 'save': -1}, 'run.yml: save', '-1', 'all'),
        ({'name': 'a', 'save': -1}, 'run.yml: save', '-1', '0'),
        ({'name': 'a', 'formats': ['a', 3]}, 'run.yml: formats[1]', '3', ''),
        ({'name': 'a', 'victim': {}}, 'run.yml: victim', '', ''),
        ({'name': 'a', 'title': True}, 'run.yml: title', 'True', ''),
        ({'name': 'a', 'named': {}}, 'run.yml: named', '{}', 'one or more'),
        ({'name': 'a', 'named': {'a/b': {}}}, 'run.yml: named', "'a/b'", ''),
        ({'name': 'a', 'named': {2024: {'size': 0}}}, 'run.yml: named.2024.size', '0', '1'),
        ({'name': 'a', 'names': ['a', {}]}, 'run.yml: names[1]', '{}', 'text'),
        ({'name': 'a', '_delete_': True}, 'run.yml', '_delete_', ''),
        ({'name': 'a', 3: True}, 'run.yml', '3', 'name'),
    ],
)
def test_a_mistake_is_named_with_its_place(options: Any, where: str, quoted: str, do: str) -> None:
    error = refused(options)
    assert error.where == where
    assert quoted in error.what
    assert do in error.do
    assert '\n' not in str(error)


def test_a_section_of_a_file_is_named_with_dots() -> None:
    with pytest.raises(InputError) as caught:
        Batch.parse({'size': 0}, 'run.yml: evaluation.batch')
    assert caught.value.where == 'run.yml: evaluation.batch.size'


def test_a_check_across_options_names_the_option() -> None:
    class Sides(Options):
        low: Annotated[int, Whole(1)] = 1
        high: Annotated[int, Whole(1)] = 2

        @model_validator(mode='after')
        def _check(self) -> 'Sides':
            if self.high < self.low:
                raise refusal(f'{self.high} is below low', do='Give more', at='high')
            return self

    with pytest.raises(InputError) as caught:
        Sides.parse({'low': 3}, 'a.yml: sides')
    assert (caught.value.where, caught.value.do) == ('a.yml: sides.high', 'Give more')


def test_a_check_of_somebody_else_is_reported_with_the_section_that_calls_it() -> None:
    class Group(Options):
        names: tuple[Text, ...] = ()

        @model_validator(mode='after')
        def _check(self) -> 'Group':
            raise InputError(f'{self.names[0]} is taken', where='names', do='Choose another')

    class Outer(Options):
        group: Group = Group.model_construct()

    with pytest.raises(InputError) as caught:
        Outer.parse_document({'group': {'names': [5]}}, 'a.yml')
    assert (caught.value.where, caught.value.what) == ('a.yml: group.names', '5 is taken')


@given(st.text(max_size=10_000) | st.lists(st.integers(), max_size=5_000) | st.integers(-(10**300), 10**300))
def test_no_error_quotes_a_value_whole(value: Any) -> None:
    assert len(shortened(value)) < 400
    assert len(str(refused({'name': 'a', 'on': value}))) < 600


def all_options() -> list[type[Options]]:
    for module in pkgutil.walk_packages(mea_plugin.__path__, 'mea_plugin.'):
        if module.name.endswith('options'):
            importlib.import_module(module.name)
    found, queue = [], list(Options.__subclasses__())
    while queue:
        one = queue.pop()
        queue += one.__subclasses__()
        if (
            one.__module__.startswith('mea_plugin.')
            and one.__module__.endswith('options')
            and one.__module__ != signatures.__name__
        ):
            found.append(one)
    return found


def _loose(hint: Any) -> bool:
    """Whether pydantic would convert what it is given: 'yes' to True, 1.0 to 1."""
    if get_origin(hint) is Annotated:
        return False
    return hint in (int, float, bool) or any(_loose(one) for one in get_args(hint))


def test_no_section_takes_a_number_without_a_range_or_a_flag_that_is_none() -> None:
    loose = [
        f'{cls.__qualname__}.{name}'
        for cls in all_options()
        for name, hint in get_type_hints(cls, include_extras=True).items()
        if name in cls.model_fields and _loose(hint)
    ]
    assert loose == []


def test_every_option_is_described() -> None:
    silent = [f'{c.__qualname__}.{n}' for c in all_options() for n, f in c.model_fields.items() if not f.description]
    assert silent == []


def test_editors_are_told_ranges_choices_and_meanings() -> None:
    schema = File.model_json_schema()
    batch = schema['$defs']['Batch']['properties']
    assert batch['size'] == {
        'default': 8,
        'description': 'Images at once.',
        'minimum': 1,
        'title': 'Size',
        'type': 'integer',
    }
    assert batch['format']['enum'] == ['png', 'jpeg']
    assert schema['properties']['wait']['exclusiveMinimum'] == 0
    assert schema['additionalProperties'] is False
