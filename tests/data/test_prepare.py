"""Folders of images: what is made, what is kept, what is refused before anything is written."""

import json

import numpy as np
import pytest

from mea_plugin.core.images import read_rgb
from mea_plugin.data import batch
from mea_plugin.data.parallel import ITEMS_PER_WORKER
from mea_plugin.data.prepare import make_benchmark, make_bicubic, make_sub_images
from mea_plugin.data.resize import downscale
from tests.helpers import photograph, refused, save

SIZES = {'a': (50, 67), 'b.x': (48, 64), 'c': (97, 49)}


@pytest.fixture
def photos(tmp_path):
    for index, (name, size) in enumerate(SIZES.items()):
        save(tmp_path / 'photos' / f'{name}.png', photograph(size, index))
    return tmp_path / 'photos'


@pytest.fixture
def pairs(tmp_path):
    """A x4 benchmark folder without bicubic: crops need no toolbox."""
    for index, (name, size) in enumerate({'a': (48, 64), 'b': (40, 68)}.items()):
        image = photograph(size, index)
        save(tmp_path / 'pairs' / 'HR' / f'{name}.png', image)
        save(tmp_path / 'pairs' / 'LRx4' / f'{name}.png', image[::4, ::4])
    return tmp_path / 'pairs'


def snapshot(folder):
    """Every file, hidden ones too, with its content and time of writing."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def contents(folder):
    return {name: data for name, (data, _) in snapshot(folder).items()}


def counts(result):
    return result.made, result.kept


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_bicubic(photos, tmp_path, scale):
    assert counts(make_bicubic(photos, tmp_path / 'lr', scale=scale)) == (3, 0)
    assert {path.name for path in (tmp_path / 'lr').iterdir()} == {'a.png', 'b.x.png', 'c.png', 'manifest.json'}
    for name, (height, width) in SIZES.items():
        found = read_rgb(tmp_path / 'lr' / f'{name}.png')
        assert found.shape == (height // scale, width // scale, 3)
        np.testing.assert_array_equal(found, downscale(read_rgb(photos / f'{name}.png'), scale))


@pytest.mark.parametrize('like', ['matlab', 'basicsr'])
def test_benchmark(photos, tmp_path, like):
    save(tmp_path / 'more' / 'd.jpg', photograph((64, 40), 9))
    assert counts(make_benchmark([photos, tmp_path / 'more'], tmp_path / 'set', scale=4, like=like)) == (4, 0)
    for name in ('a', 'b.x', 'c', 'd'):
        source = read_rgb(tmp_path / 'more' / 'd.jpg' if name == 'd' else photos / f'{name}.png')
        height, width = (size // 4 * 4 for size in source.shape[:2])
        hr = read_rgb(tmp_path / 'set' / 'HR' / f'{name}.png')
        np.testing.assert_array_equal(hr, source[:height, :width])
        np.testing.assert_array_equal(
            read_rgb(tmp_path / 'set' / 'LRx4' / f'{name}.png'), downscale(source, 4, like=like)
        )
    manifest = json.loads((tmp_path / 'set' / 'manifest.json').read_text())
    assert (manifest['scale'], manifest['like']) == (4, like)
    assert list(manifest['images']) == ['a', 'b.x', 'c', 'd']


def test_a_benchmark_of_the_embedded_photographs(tmp_path):
    assert counts(make_benchmark(['embedded:test'], tmp_path / 'set', scale=4)) == (4, 0)
    assert {path.name for path in (tmp_path / 'set' / 'LRx4').iterdir()} == {
        'astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.png',
    }  # fmt: skip
    assert read_rgb(tmp_path / 'set' / 'HR' / 'rocket.png').shape == (424, 640, 3)


@pytest.mark.parametrize(
    ('settings', 'corners'),
    [
        ({}, {'a': ([0, 16, 32], [0, 16, 32, 48]), 'b': ([0, 16, 24], [0, 16, 32, 48, 52])}),
        ({'thresh': 4}, {'a': ([0, 16, 32], [0, 16, 32, 48]), 'b': ([0, 16, 24], [0, 16, 32, 48])}),
        ({'thresh': 99}, {'a': ([0, 16, 32], [0, 16, 32, 48]), 'b': ([0, 16], [0, 16, 32, 48])}),
        ({'crop': 32, 'step': 8}, {'a': ([0, 8, 16], [0, 8, 16, 24, 32]), 'b': ([0, 8], [0, 8, 16, 24, 32, 36])}),
        ({'crop': 40, 'step': 40}, {'a': ([0, 8], [0, 24]), 'b': ([0], [0, 28])}),
        ({'crop': 44, 'step': 44, 'skip_small': True}, {'a': ([0, 4], [0, 20])}),
    ],
)  # fmt: skip
def test_sub_images_are_aligned_row_by_row(pairs, tmp_path, settings, corners):
    out = tmp_path / 'sub'
    settings = {'crop': 16, 'step': 16, **settings}
    make_sub_images(pairs, out, scale=4, **settings)
    expected = {}
    for name, (rows, columns) in corners.items():
        hr, lr = (read_rgb(pairs / folder / f'{name}.png') for folder in ('HR', 'LRx4'))
        for index, (y, x) in enumerate(((y, x) for y in rows for x in columns), 1):
            crop = settings['crop']
            expected[f'HR/{name}_s{index:03d}.png'] = hr[y : y + crop, x : x + crop]
            expected[f'LRx4/{name}_s{index:03d}.png'] = lr[y // 4 : (y + crop) // 4, x // 4 : (x + crop) // 4]
    assert {path.relative_to(out).as_posix() for path in out.glob('*/*')} == set(expected)
    for file, image in expected.items():
        np.testing.assert_array_equal(read_rgb(out / file), image)


def test_processes_make_the_same(tmp_path):
    for index in range(2 * ITEMS_PER_WORKER):
        image = photograph((24, 24), index)
        save(tmp_path / 'pairs' / 'HR' / f'{index}.png', image)
        save(tmp_path / 'pairs' / 'LRx2' / f'{index}.png', image[::2, ::2])
    for jobs in (1, 2):
        result = make_sub_images(tmp_path / 'pairs', tmp_path / f'out{jobs}', scale=2, crop=12, step=12, jobs=jobs)
        assert counts(result) == (2 * ITEMS_PER_WORKER, 0)
    assert contents(tmp_path / 'out1') == contents(tmp_path / 'out2')
    save(tmp_path / 'pairs' / 'HR' / '0.png', photograph((10, 10)))
    with refused('HR/0.png', '10x10', '2', '12x12', do='prepare_data.py'):
        make_sub_images(tmp_path / 'pairs', tmp_path / 'out2', scale=2, crop=12, step=12, jobs=2)


class TestSecondRun:
    """By content: what is kept, made again, removed."""

    @pytest.fixture
    def made(self, pairs, tmp_path):
        make_sub_images(pairs, tmp_path / 'sub', scale=4, crop=16, step=16)
        return tmp_path / 'sub'

    def again(self, pairs, made, **settings):
        return counts(make_sub_images(pairs, made, **{'scale': 4, 'crop': 16, 'step': 16, **settings}))

    def fresh(self, pairs, tmp_path, **settings):
        make_sub_images(pairs, tmp_path / 'fresh', **{'scale': 4, 'crop': 16, 'step': 16, **settings})
        return contents(tmp_path / 'fresh')

    def test_touches_nothing_when_all_is_up_to_date(self, pairs, made):
        before = snapshot(made)
        for path in pairs.glob('*/*'):
            path.touch()  # the time says nothing, the content does
        assert self.again(pairs, made) == (0, 2)
        assert snapshot(made) == before

    def test_makes_again_what_has_another_input(self, pairs, made, tmp_path):
        before = snapshot(made)
        save(pairs / 'HR' / 'b.png', photograph((40, 68), 77))
        assert self.again(pairs, made) == (1, 1)
        assert contents(made) == self.fresh(pairs, tmp_path)
        assert all(snapshot(made)[name] == value for name, value in before.items() if '/a_' in name)

    @pytest.mark.parametrize('damage', ['gone', 'cut', 'replaced'])
    def test_makes_again_what_was_damaged(self, pairs, made, tmp_path, damage):
        path = made / 'LRx4' / 'a_s002.png'
        if damage == 'gone':
            path.unlink()
        elif damage == 'cut':
            path.write_bytes(path.read_bytes()[:100])
        else:
            save(path, photograph((4, 4), 5))
        assert self.again(pairs, made) == (1, 1)
        assert contents(made) == self.fresh(pairs, tmp_path)

    @pytest.mark.parametrize('settings', [{'crop': 32}, {'step': 32}, {'thresh': 8}])
    def test_other_settings_leave_nothing_of_the_old_ones(self, pairs, made, tmp_path, settings):
        assert self.again(pairs, made, **settings) == (2, 0)
        assert contents(made) == self.fresh(pairs, tmp_path, **settings)

    def test_an_image_less_leaves_nothing_of_it(self, pairs, made, tmp_path):
        for folder in ('HR', 'LRx4'):
            (pairs / folder / 'a.png').unlink()
        assert self.again(pairs, made) == (0, 1)
        assert contents(made) == self.fresh(pairs, tmp_path)

    @pytest.mark.parametrize('stop_after', [0, 1])
    def test_goes_on_after_an_interruption(self, pairs, made, tmp_path, monkeypatch, stop_after):
        make, done = batch._make, []

        def stop(recipe, output, plan):
            if len(done) == stop_after:
                (output / plan.files[0]).parent.mkdir(parents=True, exist_ok=True)
                (output / plan.files[0]).write_bytes(b'written, but not noted')
                (output / 'HR' / '.tmp-of-a-killed-run').touch()
                raise KeyboardInterrupt
            done.append(plan.item.name)
            return make(recipe, output, plan)

        for folder in (tmp_path / 'new', made):  # a new one, and one that held a result of other settings
            done.clear()
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(batch, '_make', stop)
                self.again(pairs, folder, crop=32, step=32)
            assert not (folder / 'manifest.json').exists()
            with (folder / '.prepare.jsonl').open('a') as journal:
                journal.write('{"b": {"key": "to')  # as a power failure leaves it
            assert self.again(pairs, folder, crop=32, step=32) == (2 - stop_after, stop_after)
            assert contents(folder) == self.fresh(pairs, tmp_path, crop=32, step=32)

    def test_goes_on_when_only_the_journal_was_left_to_remove(self, pairs, made):
        head = {'recipe': 'SubImageRecipe', 'ours': []}
        before = contents(made)
        (made / '.prepare.jsonl').write_text(json.dumps(head) + '\n')
        assert self.again(pairs, made) == (0, 2)
        assert contents(made) == before


class TestForeignFiles:
    """A folder that holds something else is left alone."""

    def test_images_of_another_origin(self, pairs, photos, tmp_path):
        save(tmp_path / 'sub' / 'HR' / 'mine.png', photograph((4, 4)))
        before = snapshot(tmp_path / 'sub')
        with refused('sub/HR', 'mine.png'):
            make_sub_images(pairs, tmp_path / 'sub', scale=4, crop=16, step=16)
        assert snapshot(tmp_path / 'sub') == before
        with refused('photos', 'a.png'):
            make_bicubic(photos, photos, scale=2)

    def test_images_added_to_a_result(self, pairs, tmp_path):
        make_sub_images(pairs, tmp_path / 'sub', scale=4, crop=16, step=16)
        save(tmp_path / 'sub' / 'LRx4' / 'mine.png', photograph((4, 4)))
        with refused('sub/LRx4', 'mine.png'):
            make_sub_images(pairs, tmp_path / 'sub', scale=4, crop=16, step=16)

    @pytest.mark.parametrize(
        ('manifest', 'quoted'),
        [
            ('{"pairs": []}', 'tools/prepare_data.py'),
            ('{"recipe": "SubImageRecipe", "ima', 'tools/prepare_data.py'),
            ('{"recipe": "BicubicRecipe", "images": {}}', 'BicubicRecipe'),
            ('{"recipe": "SubImageRecipe", "images": {"a": {"key": "x"}}}', ''),
            ('{"recipe": "SubImageRecipe", "images": {"a": 5}}', ''),
            (
                '{"recipe": "SubImageRecipe", "images": {"a": {"key": "x", "files": {"../kept.txt": "y"}}}}',
                "'..'",
            ),
        ],
    )
    def test_a_manifest_of_something_else(self, pairs, tmp_path, manifest, quoted):
        (tmp_path / 'sub').mkdir()
        (tmp_path / 'sub' / 'manifest.json').write_text(manifest)
        (tmp_path / 'kept.txt').touch()
        with refused('sub/manifest.json', quoted):
            make_sub_images(pairs, tmp_path / 'sub', scale=4, crop=16, step=16)
        assert (tmp_path / 'kept.txt').exists()
        assert contents(tmp_path / 'sub') == {'manifest.json': manifest.encode()}

    def test_a_file_where_the_folder_should_be(self, pairs, tmp_path):
        (tmp_path / 'sub').touch()
        with refused('--output', str(tmp_path / 'sub')):
            make_sub_images(pairs, tmp_path / 'sub', scale=4, crop=16, step=16)
        (tmp_path / 'set').mkdir()
        (tmp_path / 'set' / 'HR').touch()
        with refused('--output', str(tmp_path / 'set' / 'HR')):
            make_sub_images(pairs, tmp_path / 'set', scale=4, crop=16, step=16)


class TestBadInput:
    """Each is refused before anything is written."""

    def refuse(self, pairs, tmp_path, where, *quoted, do='', **settings):
        with refused(where, *quoted, do=do):
            make_sub_images(pairs, tmp_path / 'sub', **{'scale': 4, 'crop': 16, 'step': 16, **settings})
        assert not (tmp_path / 'sub').exists()

    @pytest.mark.parametrize(
        ('settings', 'where', 'quoted', 'do'),
        [
            ({'crop': 18}, '--crop', ('18', '4'), ''),
            ({'crop': 0}, '--crop', ('0', '4'), ''),
            ({'step': -4}, '--step', ('-4', '4'), ''),
            ({'thresh': -1}, '--thresh', ('-1',), '0'),
            ({'scale': 0}, 'scale', ('0',), '1'),
            ({'scale': 2}, '--input', ('/LRx2',), ''),
            ({'crop': 48, 'step': 48}, 'HR/b.png', ('68x40', '48'), '--skip-small'),
            ({'crop': 80, 'step': 80, 'skip_small': True}, '--input', (), '--crop'),
        ],
    )
    def test_numbers(self, pairs, tmp_path, settings, where, quoted, do):
        self.refuse(pairs, tmp_path, where, *quoted, do=do, **settings)

    @pytest.mark.parametrize(('missing', 'other'), [('LRx4', 'HR'), ('HR', 'LRx4')])
    def test_no_partner(self, pairs, tmp_path, missing, other):
        (pairs / missing / 'b.png').unlink()
        self.refuse(pairs, tmp_path, f'{other}/b.png', str(pairs / missing))

    def test_sizes_that_do_not_match_the_scale(self, pairs, tmp_path):
        save(pairs / 'LRx4' / 'b.png', photograph((10, 16)))
        self.refuse(pairs, tmp_path, 'HR/b.png', '68x40', '4', '16x10')

    def test_an_image_smaller_than_the_scale(self, tmp_path):
        save(tmp_path / 'photos' / 'thin.png', photograph((40, 3)))
        for make, source in ((make_bicubic, tmp_path / 'photos'), (make_benchmark, [tmp_path / 'photos'])):
            with refused('thin.png', '3x40', '4'):
                make(source, tmp_path / 'out', scale=4)
            assert not (tmp_path / 'out').exists()

    def test_an_unwritable_folder(self, pairs, tmp_path, monkeypatch):
        def fail(*_args):
            raise PermissionError(13, 'Permission denied')

        monkeypatch.setattr('mea_plugin.data.batch_state.write_text', fail)
        self.refuse(pairs, tmp_path, tmp_path / 'sub', 'Permission denied')
