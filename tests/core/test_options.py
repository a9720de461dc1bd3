"""Option files: plain values only, checked keys, overrides without eval."""

import errno
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mea_plugin.core.errors import InputError
from mea_plugin.core.folders import OutsideError
from mea_plugin.core.options import apply_overrides, check_keys, dump_options, load_options, merge, require
from tests.helpers import refused

TEXT = st.text(st.characters(codec='utf-8', exclude_characters='\0'), max_size=8)  # a path may be made of it
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
SECTIONS = st.dictionaries(
    st.sampled_from('abcd'),
    st.recursive(SCALARS, lambda inner: st.dictionaries(st.sampled_from('abcd'), inner, max_size=3), max_leaves=8),
    max_size=4,
)


def write(folder: Path, text: str, name: str = 'options.yml') -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@given(SECTIONS.filter(bool))
def test_what_yaml_dumps_is_read_back(tmp_path_factory, options):
    assert load_options(write(tmp_path_factory.mktemp('yml'), yaml.safe_dump(options))) == options


@given(SECTIONS.filter(bool))
def test_what_is_dumped_is_read_back(tmp_path_factory, options):
    assert load_options(write(tmp_path_factory.mktemp('yml'), dump_options(options))) == options


def test_dumped_options_keep_their_order_and_their_types(tmp_path):
    shared = {'lr': 1e-7}
    options = {
        'z': '1e4',
        'a': {'later': shared, 'again': shared},
        'text': ['~', 'no', '2024-01-31', 'é'],
        'none': None,
    }
    text = dump_options(options)
    again = load_options(write(tmp_path, text))
    assert again == options
    assert list(again) == list(options)
    assert '&' not in text


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-4', 1e-4), ('-1E3', -1e3), ('+.5e+2', 50.0), ('5.e1', 50.0), ('2.5', 2.5), ('!!float 1e-4', 1e-4),
        ('12', 12), ('~', None), ('yes', True), ('1e', '1e'), ('e4', 'e4'), ('1e4x', '1e4x'),
        ('2024-01-31', '2024-01-31'), ('2024-99-99', '2024-99-99'), ('[1e-4, a]', [1e-4, 'a']),
    ],
)  # fmt: skip
def test_values(tmp_path, text, value):
    found = load_options(write(tmp_path, f'key: {text}'))['key']
    assert found == value
    assert type(found) is type(value)


def test_a_key_may_override_what_is_merged_in(tmp_path):
    text = 'base: &base {lr: 1, wd: 2}\nmine: {<<: *base, lr: 3}'
    assert load_options(write(tmp_path, text))['mine'] == {'lr': 3, 'wd': 2}


@pytest.mark.parametrize(
    ('text', 'line', 'quoted', 'do'),
    [
        ('a: 1\nb: [1,\nc: 2}', ':3', "'}'", ''),
        ('a: 1\nb: !!python/object/apply:os.system [touch HACKED]', ':2', 'python/object/apply:os.system', ''),
        ('a: !!python/name:os.system', ':1', 'python/name', ''),
        ('a: !!binary aGk=', ':1', 'binary', ''),
        ('a: !!int abc', '', '', ''),
        ('a: 1\nb: {c: 1,\n c: 2}', ':3', "'c'", ''),
        ('a: 1\na: 2', ':2', "'a'", ''),
        ('? [a, b]\n: 1', ':1', '', ''),
        ('a: &a {b: *a}', ':1', '', ''),
        ('a: ' + '[' * 5000, '', '', ''),
        ('a: "\x00"', '', '', ''),
        ('- 1\n- 2', '', '', 'key: value'),
        ('', '', '', 'key: value'),
    ],
)
def test_a_bad_file_is_refused_and_runs_nothing(tmp_path, monkeypatch, text, line, quoted, do):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, text)
    with refused(f'{path}{line}', quoted, do=do):
        load_options(path)
    assert [p.name for p in tmp_path.iterdir()] == ['options.yml']


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / 'latin.yml').write_bytes('name: é'.encode('latin-1'))
    for path, reason in (
        (tmp_path / 'none.yml', os.strerror(errno.ENOENT)),
        (tmp_path, os.strerror(errno.EISDIR)),
        (tmp_path / 'latin.yml', 'UTF-8'),
    ):
        with refused(path, reason):
            load_options(path)


def test_unknown_keys_name_the_nearest_known_one():
    check_keys({'budget': 1}, ('budget', 'images'), 'queries')
    with refused('queries', "'buget'", do="'budget'"):
        check_keys({'buget': 1}, ('budget', 'images'), 'queries')
    with refused('queries', "'5'", do=('budget', 'images')):
        check_keys({5: 1}, iter(('budget', 'images')), 'queries')
    for value in (None, [1], 'text'):
        with refused('queries', repr(value), do='budget'):
            check_keys(value, ('budget',), 'queries')


def test_required_keys():
    assert require({'a': 0}, 'a', 'x') == 0
    for options in ({}, {'a': None}):
        with refused('x', "'a'"):
            require(options, 'a', 'x')


@given(SECTIONS, SECTIONS)
def test_merging_lays_one_over_the_other(base, override):
    before = repr((base, override))
    merged = merge(base, override)
    assert repr((base, override)) == before
    assert merged.keys() == base.keys() | override.keys()
    for key, value in merged.items():
        old, new = base.get(key), override.get(key)
        if key not in override:
            assert value == old
        elif isinstance(old, dict) and isinstance(new, dict):
            assert value == merge(old, new)
        else:
            assert value == new


def test_a_section_of_another_type_replaces_the_old_one():
    base = {'optim': {'type': 'SAM', 'rho': 0.05, 'lr': 1}}
    assert merge(base, {'optim': {'type': 'Adam', 'lr': 2}}) == {'optim': {'type': 'Adam', 'lr': 2}}
    assert merge(base, {'optim': {'type': 'SAM', 'lr': 2}}) == {'optim': {'type': 'SAM', 'rho': 0.05, 'lr': 2}}
    assert merge(base, {'optim': {'lr': 2}}) == {'optim': {'type': 'SAM', 'rho': 0.05, 'lr': 2}}
    assert merge(base, {'optim': None}) == {'optim': None}


def test_an_override_may_replace_a_section_of_the_same_type():
    base = {'train': {'optim': {'type': 'SAM', 'rho': 0.05, 'lr': 1}, 'losses': {'pixel': 1}}}
    sam = {'type': 'SAM', 'lr': 2}
    assert merge(base, {'train': {'optim': {'_delete_': True, **sam}}})['train'] == {**base['train'], 'optim': sam}
    assert merge(base, {'train': {'optim': {'_delete_': False, **sam}}})['train']['optim']['rho'] == 0.05
    with refused('train', '_delete_', "'yes please'", do=('true', 'false')):
        merge(base, {'train': {'_delete_': 'yes please'}})


BASES = {
    'parts/network.yml': 'scale: 4\nnetwork: {type: A, width: 64, layers: [1, 2]}',
    'parts/deep/adam.yml': '_base_: ../network.yml\ntrain: {optim: {type: Adam, lr: 1e-4}, steps: 9, extra: ~}',
    'parts/other.yml': 'network: {width: 32}\ntrain: {steps: 5}',
}


@pytest.fixture
def based(tmp_path):
    for name, text in BASES.items():
        write(tmp_path, text, name)
    return lambda text: write(tmp_path, text)


def test_a_file_is_laid_over_its_bases_section_by_section(based):
    text = '_base_: [parts/deep/adam.yml, parts/other.yml]\ntrain: {optim: {type: SAM, rho: 2}}\nnetwork: {layers: [3]}'
    assert load_options(based(text)) == {
        'scale': 4,
        'network': {'type': 'A', 'width': 32, 'layers': [3]},  # a later base wins over an earlier one
        'train': {'optim': {'type': 'SAM', 'lr': 1e-4, 'rho': 2}, 'steps': 5, 'extra': None},
    }


def test_bases_are_found_from_the_file_that_names_them(based, tmp_path, monkeypatch):
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    expected = load_options(tmp_path / 'parts' / 'deep' / 'adam.yml')
    assert expected['scale'] == 4
    for base in ('parts/deep/adam.yml', tmp_path / 'parts' / 'deep' / 'adam.yml'):
        assert load_options(based(f'_base_: {base}')) == expected
    assert load_options('../options.yml') == expected
    monkeypatch.setenv('HOME', str(tmp_path))
    assert load_options(based('_base_: ~/parts/deep/adam.yml')) == expected


def test_one_base_may_be_reached_twice(based):
    options = load_options(based('_base_: [parts/network.yml, parts/other.yml, parts/deep/adam.yml]'))
    assert options['network']['width'] == 64
    assert options['train']['steps'] == 9


def test_a_section_may_replace_what_it_meets(based):
    head = '_base_: parts/deep/adam.yml\n'
    optim = {'type': 'SGD'}
    train = load_options(based(f'{head}train: {{optim: {{_delete_: true, type: SGD}}}}'))['train']
    assert train == {'optim': optim, 'steps': 9, 'extra': None}
    assert load_options(based(f'{head}train: {{_delete_: true, optim: {{type: SGD}}}}'))['train'] == {'optim': optim}
    kept = load_options(based(f'{head}train: {{optim: {{_delete_: false, type: SGD}}}}'))['train']['optim']
    assert kept == {'type': 'SGD', 'lr': 1e-4}
    assert load_options(based(f'{head}network: {{layers: {{_delete_: true, a: 1}}}}'))['network']['layers'] == {'a': 1}


@pytest.mark.parametrize(('line', 'expected'), [('~', None), ('false', False), ('true', True)])
def test_a_section_may_be_switched_off_and_on(based, line, expected):
    head = '_base_: parts/deep/adam.yml\n'
    assert load_options(based(f'{head}train: {{optim: {line}}}'))['train']['optim'] is expected
    assert load_options(based(f'{head}train: {{extra: {{a: 1}}}}'))['train']['extra'] == {'a': 1}


@pytest.mark.parametrize(
    ('text', 'where', 'quoted', 'do'),
    [
        ('_base_: gone.yml', ': _base_', ('/gone.yml',), ''),
        ('_base_: [parts/network.yml, parts/deep]', ': _base_', ('/parts/deep',), ''),
        ('_base_: {a: 1}', '', ('_base_', "{'a': 1}"), ''),
        ('_base_: [1]', '', ('_base_', '[1]'), ''),
        ('_base_: ~', '', ('_base_', 'None'), ''),
        ('_base_: options.yml', ': _base_', (' options.yml',), ''),
        ('_base_: parts/network.yml\nnetwork: {layers: {a: 1}}', ': network.layers', ('[1, 2]',), '_delete_: true'),
        ('_base_: parts/network.yml\nnetwork: [1]', ': network', ('[1]',), '~'),
        ('_base_: parts/network.yml\nnetwork: 3', ': network', ('3',), '~'),
        ('_base_: parts/network.yml\nnetwork: {_delete_: 1}', ': network', ('_delete_', ' 1'), 'true or false'),
    ],
)
def test_bases_that_cannot_be_used_are_refused(based, text, where, quoted, do):
    path = based(text)
    with refused(f'{path}{where}', *quoted, do=do) as caught:
        load_options(path)
    assert '\n' not in str(caught.value)


def test_a_circle_and_damage_name_the_file_they_are_in(based, tmp_path):
    path = based('_base_: parts/circle.yml')
    circle = write(tmp_path, '_base_: [network.yml, ../options.yml]', 'parts/circle.yml')
    with refused(f'{circle}: _base_', ' ../options.yml'):
        load_options(path)
    for text, line, quoted in (('a: [', ':1', ''), ('', '', ''), ('a: !!python/name:os.system', ':1', 'python/name')):
        circle.write_text(text)
        with refused(f'{circle}{line}', quoted):
            load_options(path)


def test_a_delete_that_meets_nothing_is_no_known_key(based):
    options = load_options(based('_base_: parts/network.yml\ntrain: {_delete_: true, steps: 1}'))
    with refused('x', '_delete_'):
        check_keys(options['train'], ('steps',), 'x')


def test_overrides_set_values_in_place():
    options = {'name': 'a', 'train': {'optim_g': {'lr': 1}}}
    apply_overrides(options, ['name=b', 'train:optim_g:lr=1e-4', 'train:total_iter=5', 'train:path=x=y', 'num_gpu='])
    expected = {'optim_g': {'lr': 1e-4}, 'total_iter': 5, 'path': 'x=y'}
    assert options == {'name': 'b', 'train': expected, 'num_gpu': None}


@pytest.mark.parametrize(
    ('entry', 'quoted', 'do'),
    [
        ('train', "'train'", 'section:key=value'),
        ('train:=1', "'train:=1'", 'section:key=value'),
        ('trian:lr=1', "'trian'", "'train'"),
        ('name:x=1', "'name'", ''),
        ('train:optim:lr=1', "'optim'", 'total_iter'),
        ('train:lr=[1,', "'[1,'", 'YAML'),
        ('train:lr=!!python/object/apply:os.getcwd []', "'!!python/object/apply:os.getcwd []'", 'YAML'),
    ],
)
def test_bad_overrides_are_refused_and_change_nothing(entry, quoted, do):
    options = {'name': 'a', 'train': {'total_iter': 1}}
    with refused('--force_yml', quoted, do=do):
        apply_overrides(options, [entry])
    assert options == {'name': 'a', 'train': {'total_iter': 1}}


def test_nothing_outside_of_a_folder_is_read(tmp_path):
    folder = tmp_path / 'results'
    inner = write(folder, '_base_: [base.yml, ../more.yml]\na: 1\n', 'in/options.yml')
    write(folder, 'b: 2\n', 'in/base.yml')
    write(folder, 'c: 3\n', 'more.yml')
    assert load_options(inner, within=folder) == {'a': 1, 'b': 2, 'c': 3}
    (tmp_path / 'given').symlink_to(folder)
    assert load_options(tmp_path / 'given' / 'in' / 'options.yml', within=tmp_path / 'given')['c'] == 3
    with pytest.raises(OutsideError):
        load_options(inner, within=folder / 'in')
    write(tmp_path, 'c: 4\n', 'private.yml')
    for base in (str(tmp_path / 'private.yml'), '../../private.yml', 'link.yml', '/dev/zero', '~/private.yml'):
        write(folder, f'_base_: {base}\n', 'in/options.yml')
        (folder / 'in' / 'link.yml').unlink(missing_ok=True)
        (folder / 'in' / 'link.yml').symlink_to(tmp_path / 'private.yml')
        with pytest.raises(InputError):
            load_options(inner, within=folder)


def test_a_pipe_or_a_device_is_no_option_file(tmp_path):
    os.mkfifo(tmp_path / 'pipe.yml')
    for path in (tmp_path / 'pipe.yml', Path('/dev/zero'), tmp_path):
        with pytest.raises(InputError):
            load_options(path)


def test_aliases_that_stay_small_are_followed(tmp_path):
    text = 'a: &a {lr: 1}\nb: {<<: *a, rho: 2}\nc: [*a, *a]\n'
    found = load_options(write(tmp_path, text))
    assert found == {'a': {'lr': 1}, 'b': {'lr': 1, 'rho': 2}, 'c': [{'lr': 1}, {'lr': 1}]}
