"""References to images of any source: what they are called, what they read, what they refuse, when they change."""

import importlib
import os
import pickle
import threading

import numpy as np
import pytest

from mea_plugin.core.images import image_size, read_rgb
from mea_plugin.data.lmdb_images import is_lmdb, lmdb_bytes, lmdb_entries
from mea_plugin.data.sources import image_references, image_source
from tests.core.test_images import REFUSED
from tests.helpers import photograph, refused, save

lmdb = pytest.importorskip('lmdb')


def write_lmdb(folder, contents, meta=None):
    """An LMDB of these contents, by key."""
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, data in contents.items():
            transaction.put(key.encode(), data)
    lines = [f'{key}.png (1,1,3) 1\n' for key in contents] if meta is None else meta
    (folder / 'meta_info.txt').write_text(''.join(lines))
    return folder


@pytest.fixture
def photos(tmp_path):
    files = ('photos/b.x.png', 'photos/a.jpg', 'photos/one/c.png', 'photos/one/d.png', 'photos/two/deep/c.png')
    for index, file in enumerate(files):
        save(tmp_path / file, photograph((4 + index, 5), index))
    for other in ('notes.txt', '.hidden.png', 'png', 'dots.'):
        (tmp_path / 'photos' / other).touch()
    (tmp_path / 'photos' / 'folder.png').mkdir()
    (tmp_path / 'photos' / 'nowhere.png').symlink_to(tmp_path / 'gone.png')
    (tmp_path / 'photos' / 'e.PNG').symlink_to(tmp_path / 'photos' / 'one' / 'd.png')
    return tmp_path / 'photos'


@pytest.fixture
def base(tmp_path):
    contents = {key: save(tmp_path / 'images' / f'{key}.png', photograph((6, 8), int(key))) for key in ('2', '0', '1')}
    return write_lmdb(tmp_path / 'set.lmdb', {key: path.read_bytes() for key, path in contents.items()})


def test_a_folder_gives_what_image_source_gives(photos):
    found = image_references(photos)
    assert {name: str(image) for name, image in found.items()} == {
        name: str(path) for name, path in image_source(photos).items()
    }
    assert list(found) == ['a', 'b.x', 'e']
    for name, image in found.items():
        assert image.name == name
        np.testing.assert_array_equal(image.read(), read_rgb(str(image)))
        assert image.size() == image_size(str(image)) == image.read().shape[:2]


def test_embedded_photographs_and_single_files(photos):
    assert list(image_references('embedded:test')) == list(image_source('embedded:test'))
    assert list(image_references([photos / 'b.x.png', str(photos / 'one' / 'd.png')])) == ['b.x', 'd']


@pytest.mark.parametrize(
    ('pattern', 'names'),
    [
        ('*.png', ['b.x']),
        ('*', ['a', 'b.x', 'e']),
        ('**/*', ['a', 'b.x', 'd', 'e', 'one/c', 'two/deep/c']),
        ('**/*.png', ['b.x', 'd', 'one/c', 'two/deep/c']),
        ('*/c.png', ['c']),
        ('*/[cd].*', ['c', 'd']),
        ('t?o/**/c.png', ['c']),
    ],
)
def test_globs(photos, pattern, names, monkeypatch):
    monkeypatch.chdir(photos.parent)
    for prefix in (f'{photos}/', 'photos/'):
        found = image_references(prefix + pattern)
        assert list(found) == names
        for name, image in found.items():
            assert image.name == name
            assert str(image).startswith(prefix)
            assert read_rgb(str(image)).shape == image.read().shape


def test_a_folder_whose_name_looks_like_a_glob(tmp_path):
    save(tmp_path / 'set[1]' / 'a.png', photograph((4, 4)))
    assert list(image_references(tmp_path / 'set[1]')) == ['a']


def test_names_that_cannot_be_told_apart_are_refused(photos, tmp_path):
    save(photos / 'one' / 'c.bmp', photograph((4, 4)))
    for spec, name in ((photos / 'one', 'c'), (f'{photos}/one/*', 'c'), (f'{photos}/**/*', 'one/c')):
        with refused('opt', 'one/c.bmp', 'one/c.png', f"'{name}'"):
            image_references(spec, where='opt')
    save(tmp_path / 'more' / 'a.png', photograph((4, 4)))
    with refused('', 'photos/a.jpg', 'more/a.png', "'a'"):
        image_references([photos, tmp_path / 'more'])


def test_several_sources_count_an_image_once(photos, base):
    found = image_references([f'{photos}/*.png', photos, base, 'embedded:test', f'{photos}/**/*.png', base])
    assert list(found) == [
        *('0', '1', '2', 'a', 'astronaut', 'b.x', 'chelsea', 'coffee', 'd', 'e', 'one/c', 'rocket', 'two/deep/c'),
    ]


@pytest.mark.parametrize(
    ('spec', 'do'),
    [('none', 'LMDB'), ('photos/none/*.png', '.png'), ('photos/notes.txt', '.png'), ('photos/folder.png', '.png')],
)
def test_sources_without_images(photos, tmp_path, spec, do):
    with refused('opt', str(tmp_path / spec), do=do):
        image_references(tmp_path / spec, where='opt')
    with refused('opt', str(tmp_path / spec), do=do):
        image_references([photos / 'one', tmp_path / spec], where='opt')


def test_no_source_at_all():
    with refused('opt', do='LMDB'):
        image_references([], where='opt')


def test_an_lmdb_reads_as_its_files_do(base, tmp_path):
    found = image_references(base)
    assert list(found) == ['0', '1', '2']
    for key, image in found.items():
        path = tmp_path / 'images' / f'{key}.png'
        np.testing.assert_array_equal(image.read(), read_rgb(path))
        assert image.size() == (6, 8)
        assert str(image) == f'{base}[{key}]'
    assert [entry.key for entry in lmdb_entries(base)] == ['2', '0', '1']
    assert lmdb_entries(base)[0].size == (1, 1)  # what the line says


def test_an_lmdb_that_basicsr_made(tmp_path):
    import mea_plugin.basicsr  # noqa: F401 - work-arounds

    path = save(tmp_path / 'image.png', photograph((6, 8)))
    maker = importlib.import_module('basicsr.utils.lmdb_util').LmdbMaker(str(tmp_path / 'hr.lmdb'), map_size=1 << 20)
    for key in ('000/00000001', 'with space'):
        maker.put(path.read_bytes(), key, (6, 8, 3))
    maker.close()
    found = image_references(tmp_path / 'hr.lmdb')
    assert list(found) == ['000/00000001', 'with space']
    np.testing.assert_array_equal(found['with space'].read(), photograph((6, 8)))
    assert lmdb_entries(tmp_path / 'hr.lmdb')[0].size == (6, 8)


@pytest.mark.parametrize('name', REFUSED)
def test_an_lmdb_is_read_as_strictly_as_files(tmp_path, name):
    data, kind = REFUSED[name]
    write_lmdb(tmp_path / 'set.lmdb', {'a': data(), 'b': b'no image'})
    found = image_references(tmp_path / 'set.lmdb')
    for read in (found['a'].read, found['a'].size):
        with refused('set.lmdb[a]', kind, do='8-bit RGB'):
            read()
    with refused('set.lmdb[b]'):
        found['b'].read()


def test_a_truncated_image_in_an_lmdb(tmp_path):
    data = save(tmp_path / 'a.png', photograph((40, 40))).read_bytes()
    found = image_references(write_lmdb(tmp_path / 'set.lmdb', {'a': data[:-500]}))
    for read in (found['a'].size, found['a'].read):
        with refused('set.lmdb[a]'):
            read()


@pytest.mark.parametrize(
    ('meta', 'where', 'quoted'),
    [
        ([], 'opt', ('set.lmdb',)),
        (['0.png (6,8,3) 1\n'], 'set.lmdb/meta_info.txt', ('1', 'data.mdb', '3')),
        (['0.png (6,8,3) 1\n'] * 3, 'set.lmdb/meta_info.txt', ("'0'", '3')),
        (['0.png (6,8,3) 1\n', '1.png (6,8,3)\n', '2.png (6,8,3) 1\n'], 'set.lmdb/meta_info.txt', ('2', 'KEY.png')),
    ],
)
def test_a_meta_info_that_does_not_fit(base, meta, where, quoted):
    (base / 'meta_info.txt').write_text(''.join(meta))
    with refused(where, *quoted):
        image_references(base, where='opt')


def test_a_damaged_lmdb(base, tmp_path):
    found = image_references(base)
    with refused(base, "'7'"):
        lmdb_bytes(base, '7')
    whole = (base / 'data.mdb').read_bytes()
    (base / 'data.mdb').write_bytes(whole[:-4096])
    with refused(base / 'data.mdb'):
        image_references(base)
    (base / 'data.mdb').write_bytes(b'x' * 5000)
    for read in (found['0'].read, lambda: image_references(base)):
        with refused(base):
            read()
    (base / 'data.mdb').unlink()
    with refused('opt', str(base), 'data.mdb'):
        image_references(base, where='opt')
    with refused(base):
        found['0'].read()
    assert is_lmdb(base)
    assert not is_lmdb(tmp_path)


def test_an_lmdb_stays_free_for_others_and_serves_threads(base):
    found = image_references(base)
    expected = found['1'].read()
    with lmdb.open(str(base), readonly=True, lock=False):  # refused while anybody in this process has it open
        pass
    errors = []

    def read():
        try:
            for _ in range(30):
                np.testing.assert_array_equal(found['1'].read(), expected)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with lmdb.open(str(base), readonly=True, lock=False):
        pass


@pytest.mark.parametrize('change', ['content', 'time', 'replaced'])
def test_the_signature_changes_with_the_file(photos, base, change):
    specs = ([photos / 'a.jpg', base / 'data.mdb'], [photos, base])
    before = {name: image.signature() for name, image in image_references(specs[1]).items()}
    assert before == {name: image.signature() for name, image in image_references(specs[1]).items()}
    assert len(set(before.values())) == len(before)
    for path in specs[0]:
        old = path.stat()
        data = path.read_bytes()
        if change == 'content':
            path.write_bytes(data + b'0')
            os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        elif change == 'time':
            os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1000))
        else:
            path.rename(path.with_suffix('.old'))
            path.write_bytes(data)
            os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    after = {name: image.signature() for name, image in image_references(specs[1]).items()}
    assert {name for name in before if after[name] != before[name]} == {'a', '0', '1', '2'}


def test_references_go_to_other_processes(photos, base):
    for image in image_references([photos, base]).values():
        again = pickle.loads(pickle.dumps(image))
        assert again == image
        assert hash(again) == hash(image)
        np.testing.assert_array_equal(again.read(), image.read())


def test_a_file_that_went_away(photos):
    image = image_references(photos)['a']
    (photos / 'a.jpg').unlink()
    with refused(photos / 'a.jpg'):
        image.read()
