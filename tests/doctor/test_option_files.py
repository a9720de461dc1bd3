"""Schemas of option files: every shipped file fits, a mistake does not, and the docs' tables are made of them."""

import copy
import functools
from pathlib import Path
from typing import Any

import pytest

from mea_plugin.core.options import load_options
from mea_plugin.defences.registry import DEFENCES
from mea_plugin.doctor.option_files import KINDS, editor_schema, kinds, schema_of
from mea_plugin.doctor.option_tables import updated
from mea_plugin.victims.registry import VICTIMS
from tests.helpers import ROOT, call_tool, refused

jsonschema = pytest.importorskip('jsonschema_rs')

FILES = [
    (kind, path)
    for kind, folder in [(kind, kind) for kind in KINDS if kind != 'query'] + [('query', 'extract')]
    for path in sorted((ROOT / 'options' / folder).glob('*.yml'))
]


@functools.cache
def schema(kind: str) -> dict[str, Any]:
    return editor_schema(kind)


@functools.cache
def validator(kind: str) -> Any:
    return jsonschema.validator_for(schema(kind))


@pytest.mark.parametrize(('kind', 'path'), FILES, ids=lambda value: getattr(value, 'stem', value))
def test_every_shipped_file_fits_its_schema(kind: str, path: Path) -> None:
    problems = [f'{list(one.instance_path)}: {one.message}' for one in validator(kind).iter_errors(load_options(path))]
    assert problems == []


def test_there_are_files_of_every_kind() -> None:
    assert {kind for kind, _ in FILES} == set(KINDS)


@pytest.mark.parametrize('kind', KINDS)
def test_it_is_a_schema(kind: str) -> None:
    assert jsonschema.meta.is_valid(schema(kind))


DEMO = ROOT / 'options' / 'extract' / 'demo_x4.yml'


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('queries', 'budgt'), 5),
        (('queries', 'budget'), 0),
        (('queries', 'in_doubt'), 'ask'),
        (('victim',), {'type': 'onnx', 'weights': 'a.onnx'}),  # it is `model`, or whatever the type calls it
        (('victim',), {'type': 'onxx'}),
        (('evaluation', 'ceiling'), 'yes'),
        (('surrogates', 'baseline', 'length'), 0),
    ],
)
def test_a_mistake_is_seen_in_the_editor(path: tuple[str, ...], value: Any) -> None:
    options = copy.deepcopy(load_options(DEMO))
    assert validator('extract').is_valid(options)
    section = options
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    assert not validator('extract').is_valid(options)


def test_a_file_that_is_based_on_others_need_not_be_complete() -> None:
    assert validator('extract').is_valid({'_base_': 'demo_x4.yml', 'name': 'mine'})
    assert not validator('extract').is_valid({'name': 'mine'})


def test_sections_of_victims_and_defences_have_schemas_of_their_own() -> None:
    assert {'victim:onnx', 'defence:jpeg', 'extract'} <= set(kinds())
    assert schema_of('defence:jpeg')['properties']['quality']['maximum'] == 100


def test_a_kind_that_is_none_is_refused() -> None:
    with refused('--schema', 'extrat', do='extract'):
        schema_of('extrat')


def test_the_tool_prints_a_schema(capsys: pytest.CaptureFixture) -> None:
    import json

    assert call_tool('doctor', '--schema', 'flatness') == 0
    assert json.loads(capsys.readouterr().out) == schema('flatness')


@pytest.mark.parametrize('page', sorted((ROOT / 'docs').glob('*.md')), ids=lambda page: page.stem)
def test_the_tables_of_the_docs_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding='utf-8')
    assert updated(text, functools.cache(schema_of)) == text, 'type: make docs-tables'


def test_the_reference_has_every_kind() -> None:
    text = (ROOT / 'docs' / 'options.md').read_text(encoding='utf-8')
    ours = [
        *KINDS,
        *(f'victim:{name}' for name in VICTIMS.built_in),
        *(f'defence:{name}' for name in DEFENCES.built_in),
    ]
    assert set(ours) <= set(kinds())
    assert [kind for kind in ours if f'<!-- options: {kind} -->' not in text] == ['query']  # the file of `extract`
