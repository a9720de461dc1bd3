"""tools/prepare_data.py: its commands, and how it refuses bad input."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.cli import run_tool as run_main
from mea_plugin.core.images import read_rgb
from tests.helpers import ROOT, photograph, run_tool, save


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('prepare_data', ROOT / 'tools' / 'prepare_data.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(tool, capsys):
    """Call the tool in this process; returns exit code, standard output and standard error."""

    def call(*arguments):
        try:
            code = run_main(tool.main, [str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse
            code = ended.code
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def photos(tmp_path):
    for index in range(3):
        save(tmp_path / 'photos' / f'{index}.png', photograph((49, 66), index))
    return tmp_path / 'photos'


def test_from_photographs_to_training_crops(call, photos, tmp_path):
    commands = (
        ['benchmark', '--input', photos, '--scale', 4, '--output', tmp_path / 'set'],
        ['sub-images', '--input', tmp_path / 'set', '--crop', 32, '--step', 16, '--output', tmp_path / 'sub'],
    )
    for command in commands:
        assert call(*command)[:2] == (0, f'{command[-1]}: 3 images made, 0 up to date\n')
        run = run_tool('prepare_data', *command)  # a process of its own
        assert (run.returncode, run.stdout) == (0, f'{command[-1]}: 0 images made, 3 up to date\n'), run.stderr
    assert len(list((tmp_path / 'sub' / 'HR').iterdir())) == 3 * 2 * 3
    first = read_rgb(tmp_path / 'sub' / 'LRx4' / '0_s001.png')
    np.testing.assert_array_equal(first, read_rgb(tmp_path / 'set' / 'LRx4' / '0.png')[:8, :8])


def test_the_other_commands(call, photos, tmp_path):
    assert call('bicubic', '--input', photos, '--scale', 2, '--jobs', 1, '--output', tmp_path / 'lr')[0] == 0
    assert read_rgb(tmp_path / 'lr' / '0.png').shape == (24, 33, 3)
    code, out, _ = call('embedded', '--split', 'test', '--scale', 8, '--jobs', 1, '--output', tmp_path / 'set')
    assert (code, out) == (0, f'{tmp_path / "set"}: 4 images made, 0 up to date\n')
    assert read_rgb(tmp_path / 'set' / 'LRx8' / 'astronaut.png').shape == (64, 64, 3)


@pytest.mark.parametrize('command', [[], ['bicubic'], ['benchmark'], ['embedded'], ['sub-images']])
def test_help(call, command):
    code, out, _ = call(*command, '--help')
    assert code == 0
    assert 'usage:' in out


def truncate(path):
    path.write_bytes(path.read_bytes()[:-400])


def as_mode(mode):
    return lambda path: Image.open(path).convert(mode).save(path)


def as_16_bit(path):
    save(path, photograph((49, 66))[..., 0] * np.uint16(257))


def crop_to(*size):
    return lambda path: save(path, photograph(size))


def empty(path):
    for file in path.parent.iterdir():
        file.unlink()


def remove(path):
    empty(path)
    path.parent.rmdir()


def check_line(text, where, quoted, **paths):
    """The one line of an error has its place and what was wrong there, or, of a folder, what to put there."""
    assert text.startswith(f'error: {where.format(**paths)}: ')
    assert quoted.format(**paths) in text
    assert text.count('\n') == 1


@pytest.mark.parametrize(
    ('spoil', 'where', 'quoted'),
    [
        (remove, '--input', '{folder}'),
        (empty, '--input', '.png'),
        (lambda path: path.write_text('no image'), '{path}', ''),
        (truncate, '{path}', 'truncated'),
        (as_16_bit, '{path}', 'mode I;16'),
        (as_mode('P'), '{path}', 'palette'),
        (as_mode('RGBA'), '{path}', 'alpha'),
        (crop_to(3, 50), '{path}', '50x3'),
    ],
    ids=['no folder', 'no images', 'no image', 'truncated', '16 bits', 'palette', 'alpha', 'too small'],
)
@pytest.mark.parametrize('command', ['bicubic', 'benchmark'])
def test_bad_images_end_with_one_line_and_leave_nothing(call, photos, tmp_path, command, spoil, where, quoted):
    spoil(photos / '1.png')
    code, out, err = call(command, '--input', photos, '--output', tmp_path / 'out', '--jobs', 1)
    assert (code, out) == (2, '')
    check_line(err, where, quoted, folder=photos, path=photos / '1.png')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('spoil', 'arguments', 'where', 'quoted'),
    [
        (crop_to(20, 30), [], '{path}', '16x12'),
        (truncate, [], '{path}', 'truncated'),
        (remove, [], '--input', '{folder}'),
        (lambda path: None, ['--crop', 52, '--step', 52], '{path}', '64x48'),
        (lambda path: None, ['--crop', 30], '--crop', '30'),
        (lambda path: None, ['--scale', 3], '--input', '{set}/LRx3'),
    ],
)
def test_a_bad_benchmark_folder(call, tmp_path, spoil, arguments, where, quoted):
    image = photograph((48, 64))
    path = save(tmp_path / 'set' / 'HR' / '1.png', image)
    save(tmp_path / 'set' / 'LRx4' / '1.png', image[::4, ::4])
    spoil(path)
    arguments = ['--crop', 24, '--step', 24, *arguments]
    code, out, err = call('sub-images', '--input', tmp_path / 'set', '--output', tmp_path / 'out', *arguments)
    assert (code, out) == (2, '')
    check_line(err, where, quoted, folder=path.parent, path=path, set=tmp_path / 'set')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('arguments', 'where', 'quoted'),
    [
        ([], 'COMMAND', ''),
        (['bicubic', '--output', 'x'], '--input', ''),
        (['bicubic', '--input', 'x', '--output', 'y', '--scale', '5'], '--scale: ', '5'),
        (['bicubic', '--input', 'x', '--output', 'y', '--jobs', '0'], '--jobs: ', '0'),
        (['bicubic', '--input', 'x', '--output', 'y', '--jobs', 'z'], '--jobs: ', "'z'"),
        (['embedded', '--split', 'all', '--output', 'y'], '--split: ', "'all'"),
        (['bicubic', '--input', 'embedded:all', '--output', 'y'], '--input: ', "'all'"),
    ],
)
def test_bad_arguments(call, monkeypatch, tmp_path, arguments, where, quoted):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert (code, out) == (2, '')
    assert where in err
    assert quoted in err
    assert err.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_a_refusal_in_a_process_of_its_own(tmp_path):
    run = run_tool('prepare_data', 'bicubic', '--input', tmp_path / 'none', '--output', tmp_path / 'out')
    assert (run.returncode, run.stdout) == (2, '')
    check_line(run.stderr, '--input', '{folder}', folder=tmp_path / 'none')
