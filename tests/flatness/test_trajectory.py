"""Which checkpoints an option names, and their order."""

from __future__ import annotations

import pytest

from mea_plugin.flatness import find_checkpoints
from tests.helpers import refused


@pytest.fixture
def folder(tmp_path):
    names = ('net_g_1000.pth', 'net_g_200.pth', 'net_g_latest.pth', 'iter_30.pth', 'iter_4.pth', 'epoch_2.pth')
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / 'net_g_5.pth').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ('pattern', 'expected'),
    [
        ('net_g_*.pth', [('net_g_200.pth', 200), ('net_g_1000.pth', 1000), ('net_g_latest.pth', None)]),
        ('iter_*.pth', [('iter_4.pth', 4), ('iter_30.pth', 30)]),
        ('epoch_*.pth', [('epoch_2.pth', None)]),
        ('iter_4.pth', [('iter_4.pth', 4)]),
        (['iter_30.pth', 'iter_*.pth'], [('iter_4.pth', 4), ('iter_30.pth', 30)]),
    ],
)
def test_globs_and_lists_in_the_order_of_training(folder, pattern, expected):
    spec = [str(folder / one) for one in pattern] if isinstance(pattern, list) else str(folder / pattern)
    assert [(one.path.name, one.iteration) for one in find_checkpoints(spec, 'o')] == expected


def test_a_name_with_brackets_is_a_name(tmp_path):
    (tmp_path / 'net_g_[1].pth').touch()
    assert [one.iteration for one in find_checkpoints(str(tmp_path / 'net_g_[1].pth'), 'o')] == [1]


@pytest.mark.parametrize('spec', ['nothing_*.pth', '', [], [''], 5, {'a': 1}])
def test_nothing_is_refused(folder, spec):
    spec = str(folder / spec) if spec and isinstance(spec, str) else spec
    with refused('o', spec if spec and isinstance(spec, str) else repr(spec)):
        find_checkpoints(spec, 'o')


def test_a_folder_is_answered_with_what_to_write(folder):
    with refused('o', str(folder), do=str(folder / 'net_g_*.pth')):
        find_checkpoints(str(folder), 'o')
