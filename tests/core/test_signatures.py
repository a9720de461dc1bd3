"""Signatures as schemas: what our factories and other people's take, what is refused, and what editors are told."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
import pytest
from typing_extensions import TypedDict, Unpack

from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import Number, Options, Whole
from mea_plugin.core.signatures import check_arguments, checked, signature_model, typed_schema

if TYPE_CHECKING:
    from nowhere import Unknown


class Shared(TypedDict, total=False):
    """Shared ones.

    Attributes:
        device: Where it runs.
    """

    device: str | None
    batch: Annotated[int, Whole(1)] | None


class Section(Options):
    """A section of its own."""

    size: Annotated[int, Whole(1)] = 8
    """Its size."""


class Painter:
    """Paints in one colour.

    Args:
        quality: From 1 to 100,
            as :func:`~cv2.imencode` has it.
        repeat: ``keyed`` or not.
        path: A file.
        section: More.
        options: Shared ones.

    Raises:
        InputError: No colour.
    """

    @checked('painter')
    def __init__(
        self,
        quality: Annotated[int, Whole(1, 100)],
        repeat: Literal['keyed', 'fresh'] = 'keyed',
        share: float = 0.5,
        path: str | Path | None = None,
        section: Section = Section(),  # noqa: B008 - cannot be changed
        trusted: bool = False,
        where: Sequence[float] = (),
        **options: Unpack[Shared],
    ) -> None:
        self.given = {key: value for key, value in locals().items() if key not in ('self', '__class__')}


class Secret(Protocol):
    """Nothing can be told to be one."""

    def secret(self) -> None: ...


def foreign(
    size,
    copy=False,
    pair: Secret | None = None,
    call: Callable[..., Any] = print,
    array: np.ndarray | None = None,
    many: Iterable[int] = (),
    wrong: 5 = 5,
    _hidden: int = 0,
    **more: Any,
) -> dict[str, Any]:
    return locals()


def unresolved(size: Unknown, *rest: int) -> Any:
    return size


def test_values_are_converted_and_defaults_are_the_signature_s() -> None:
    given = check_arguments(
        Painter, {'quality': 5e1, 'path': None, 'section': {'size': 3}, 'share': 1, 'repeat': None, 'batch': 2.0}, 'x'
    )
    assert given == {'quality': 50, 'path': None, 'section': Section(size=3), 'share': 1.0, 'batch': 2}
    assert isinstance(given['quality'], int)
    assert isinstance(given['share'], float)
    assert isinstance(given['batch'], int)
    assert Painter(quality=5e1).given['quality'] == 50
    assert Painter(20, 'fresh', section={'size': 2}).given['section'].size == 2


@pytest.mark.parametrize(
    ('arguments', 'where', 'quoted', 'do'),
    [
        ({}, 'x', "'quality'", 'quality'),
        ({'quality': 0}, 'x.quality', '0', '100'),
        ({'quality': '5'}, 'x.quality', "'5'", '100'),
        ({'quality': 5, 'repeat': 'fresch'}, 'x.repeat', "'fresch'", "'fresh'"),
        ({'quality': 5, 'share': '1'}, 'x.share', "'1'", 'number'),
        ({'quality': 5, 'trusted': 'yes'}, 'x.trusted', "'yes'", 'true or false'),
        ({'quality': 5, 'trusted': 1}, 'x.trusted', '1', 'true or false'),
        ({'quality': 5, 'path': 3}, 'x.path', '3', 'text'),
        ({'quality': 5, 'section': {'sise': 3}}, 'x.section', "'sise'", "'size'"),
        ({'quality': 5, 'section': {'size': 0}}, 'x.section.size', '0', '1'),
        ({'quality': 5, 'where': [1, '2']}, 'x.where[1]', "'2'", 'number'),
        ({'quality': 5, 'batch': 0}, 'x.batch', '0', '1'),
        ({'quality': 5, 'batsh': 1}, 'x', "'batsh'", "'batch'"),
        ({'quality': 5, 'options': {}}, 'x', "'options'", ''),
        ({'quality': 5, 'self': 1}, 'x', "'self'", ''),
    ],
)
def test_a_mistake_is_named_with_its_place(arguments: Any, where: str, quoted: str, do: str) -> None:
    with pytest.raises(InputError) as caught:
        check_arguments(Painter, arguments, 'x')
    assert caught.value.where == where
    assert quoted in caught.value.what
    assert do in caught.value.do
    assert '\n' not in str(caught.value)


def test_calls_in_python_are_checked_too() -> None:
    with pytest.raises(InputError) as caught:
        Painter(5, 'often')
    assert caught.value.where == 'painter.repeat'
    for arguments in ((), (1, 'keyed', 0.5, None, Section(), False, (), 7)):
        with pytest.raises(TypeError):
            Painter(*arguments)


def test_other_people_s_annotations_mean_what_they_can() -> None:
    array = np.zeros(3)
    given = {'size': None, 'copy': 1, 'pair': 3, 'many': [1], 'array': array, 'wrong': 'x', '_hidden': 3, 'else': 4}
    found = check_arguments(foreign, given, 'x')
    assert found.pop('array') is array
    assert found == {key: value for key, value in given.items() if key != 'array'}
    with pytest.raises(InputError) as caught:
        check_arguments(foreign, {}, 'x')
    assert caught.value.what.count("'size'") == 1
    assert check_arguments(unresolved, {'size': 'any'}, 'x') == {'size': 'any'}
    with pytest.raises(InputError):
        check_arguments(unresolved, {'size': 1, 'rest': 2}, 'x')
    part = functools.partial(Painter, quality=4)
    assert check_arguments(part, {'batch': 3}, 'x') == {'batch': 3}
    assert check_arguments(dict, {'anything': 3}, 'x') == {'anything': 3}


def test_the_schema_describes_types_and_leaves_out_those_that_are_missing() -> None:
    factories = {'painter': Painter, 'foreign': foreign}

    def find(name: str) -> Any:
        if name == 'missing':
            raise InputError('needs a package')
        return factories[name]

    schema = typed_schema(['foreign', 'missing', 'painter'], find)
    json.dumps(schema)
    assert [one['$ref'] for one in schema['oneOf']] == ['#/$defs/foreign', '#/$defs/painter']
    painter = schema['$defs']['painter']
    assert painter['description'] == 'Paints in one colour.'
    assert painter['properties']['type'] == {'const': 'painter', 'title': 'Type', 'type': 'string'}
    assert set(painter['required']) == {'type', 'quality'}
    assert painter['additionalProperties'] is False
    assert painter['properties']['quality']['maximum'] == 100
    assert painter['properties']['quality']['description'] == 'From 1 to 100, as imencode has it.'
    assert painter['properties']['device']['description'] == 'Where it runs.'
    assert painter['properties']['repeat']['description'] == '`keyed` or not.'
    assert schema['$defs']['Section']['properties']['size']['description'] == 'Its size.'
    assert 'call' not in schema['$defs']['foreign']['properties']  # nothing that a file could hold


def test_models_are_made_once() -> None:
    assert signature_model(Painter) is signature_model(Painter)
    assert isinstance(signature_model(Painter), type)
    assert issubclass(signature_model(Painter), Options)


def test_numbers_of_a_mapping_are_strict() -> None:
    def takes(weights: Mapping[str, float], share: Annotated[float, Number(above=0)] = 1) -> None: ...

    assert check_arguments(takes, {'weights': {'a': 1}}, 'x') == {'weights': {'a': 1.0}}
    with pytest.raises(InputError) as caught:
        check_arguments(takes, {'weights': {'a': '1'}}, 'x')
    assert caught.value.where == 'x.weights.a'
