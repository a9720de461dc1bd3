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


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (remove, 'error: --input: folder {folder} does not exist. Give a folder of images.'),
        (empty, 'error: --input: no images in {folder}. Put '),
        (lambda path: path.write_text('no image'), 'error: {path}: cannot be read (not an image). Replace or remove'),
        (truncate, 'error: {path}: cannot be read (image file is truncated'),
        (as_16_bit, 'error: {path}: is an image of more than 8 bits per channel'),
        (as_mode('P'), 'error: {path}: is a palette image. Convert it to 8-bit RGB.'),
        (as_mode('RGBA'), 'error: {path}: is an image with an alpha channel. Convert it to 8-bit RGB.'),
        (crop_to(3, 50), 'error: {path}: 50x3 pixels are smaller than the scale of 4. Remove the image.'),
    ],
    ids=['no folder', 'no images', 'no image', 'truncated', '16 bits', 'palette', 'alpha', 'too small'],
)
@pytest.mark.parametrize('command', ['bicubic', 'benchmark'])
def test_bad_images_end_with_one_line_and_leave_nothing(call, photos, tmp_path, command, spoil, message):
    spoil(photos / '1.png')
    code, out, err = call(command, '--input', photos, '--output', tmp_path / 'out', '--jobs', 1)
    assert (code, out) == (2, '')
    assert err.startswith(message.format(folder=photos, path=photos / '1.png'))
    assert err.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('spoil', 'arguments', 'message'),
    [
        (crop_to(20, 30), [], 'error: {path}: 30x20 pixels are not 4 times the 16x12 of the low-resolution image.'),
        (truncate, [], 'error: {path}: cannot be read (image file is truncated'),
        (remove, [], 'error: --input: folder {folder} does not exist.'),
        (lambda path: None, ['--crop', 52, '--step', 52], 'error: {path}: 64x48 pixels are smaller than the crop of'),
        (lambda path: None, ['--crop', 30], 'error: --crop: 30 is no multiple of the scale 4.'),
        (lambda path: None, ['--scale', 3], 'error: --input: folder {set}/LRx3 does not exist.'),
    ],
)
def test_a_bad_benchmark_folder(call, tmp_path, spoil, arguments, message):
    image = photograph((48, 64))
    path = save(tmp_path / 'set' / 'HR' / '1.png', image)
    save(tmp_path / 'set' / 'LRx4' / '1.png', image[::4, ::4])
    spoil(path)
    arguments = ['--crop', 24, '--step', 24, *arguments]
    code, out, err = call('sub-images', '--input', tmp_path / 'set', '--output', tmp_path / 'out', *arguments)
    assert (code, out) == (2, '')
    assert err.startswith(message.format(folder=path.parent, path=path, set=tmp_path / 'set'))
    assert err.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'the following arguments are required: COMMAND'),
        (['bicubic', '--output', 'x'], 'the following arguments are required: --input'),
        (['bicubic', '--input', 'x', '--output', 'y', '--scale', '5'], 'argument --scale: invalid choice: '),
        (['bicubic', '--input', 'x', '--output', 'y', '--jobs', '0'], 'argument --jobs: 0 is below 1'),
        (['bicubic', '--input', 'x', '--output', 'y', '--jobs', 'z'], 'argument --jobs: invalid whole_number value'),
        (['embedded', '--split', 'all', '--output', 'y'], 'argument --split: invalid choice: '),
        (['bicubic', '--input', 'embedded:all', '--output', 'y'], "error: --input: no embedded images 'all'."),
    ],
)
def test_bad_arguments(call, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert (code, out) == (2, '')
    assert message in err
    assert err.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_a_refusal_in_a_process_of_its_own(tmp_path):
    run = run_tool('prepare_data', 'bicubic', '--input', tmp_path / 'none', '--output', tmp_path / 'out')
    assert (run.returncode, run.stdout) == (2, '')
    assert run.stderr == f'error: --input: folder {tmp_path / "none"} does not exist. Give a folder of images.\n'
