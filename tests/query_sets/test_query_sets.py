"""Other forms of a query set: LMDB, crops, splits; what they refuse, and that they appear whole or not at all."""

import importlib
import json
import shutil
import sys

import numpy as np
import pytest

from mea_plugin.core.files import hash_array
from mea_plugin.core.folders import count_files
from mea_plugin.core.images import read_rgb, write_png
from mea_plugin.data.lmdb_images import lmdb_entries
from mea_plugin.data.parallel import ITEMS_PER_WORKER
from mea_plugin.data.sources import image_references
from mea_plugin.query_sets import check_complete
from mea_plugin.query_sets import lmdb as query_set_lmdb
from mea_plugin.query_sets.crops import crop_query_set
from mea_plugin.query_sets.lmdb import export_lmdb
from mea_plugin.query_sets.split import parse_parts, split_query_set
from tests.helpers import call_tool, photograph, refused
from tests.query_sets.sets import make_set

SIZES = {'ape': (20, 24), 'dog': (16, 16), 'my cat': (18, 30), 'one/zebra': (24, 20)}


@pytest.fixture
def queries(tmp_path):
    return make_set(tmp_path / 'set', SIZES)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def check_set(folder):
    """The pairs of a query set, by name, after checking that all of it fits together."""
    check_complete(folder)
    manifest = json.loads((folder / 'manifest.json').read_text())
    assert manifest['complete'] is True
    assert manifest['description']['victim'] == {'name': 'doubler', 'scale': 2, 'fingerprint': 'f'}
    assert manifest['options'] == {'a': 1}
    ids = [pair['id'] for pair in manifest['pairs']]
    assert ids == [f'{index:06d}' for index in range(len(ids))]
    lines = (folder / 'meta_info.txt').read_text().splitlines()
    found = {}
    for pair, line in zip(manifest['pairs'], lines, strict=True):
        query, response = (read_rgb(folder / side / f'{pair["id"]}.png') for side in ('query', 'response'))
        assert (hash_array(query), hash_array(response)) == (pair['query'], pair['response'])
        assert line == '{}.png ({},{},3)'.format(pair['id'], *response.shape[:2])
        assert pair['size'] == list(response.shape[:2])
        found[pair['name']] = (query, response)
    assert list(found) == manifest['names']
    assert {len(list((folder / side).iterdir())) for side in ('query', 'response')} == {len(ids)}
    return manifest, found


def lmdb(source, output):
    return export_lmdb(source, output)


def crop(source, output):
    return crop_query_set(source, output, crop=8)


def split(source, output):
    return split_query_set(source, output, parts={'train': 3, 'val': 1})


COMMANDS = [lmdb, crop, split]


@pytest.mark.parametrize('make', COMMANDS)
class TestEachCommand:
    def test_it_is_done_once(self, queries, tmp_path, make):
        result = make(queries, tmp_path / 'out')
        before = contents(tmp_path / 'out')
        again = make(queries, tmp_path / 'out')
        assert result.made > 0
        assert (result.kept, again.made, again.kept) == (0, 0, result.made)
        assert contents(tmp_path / 'out') == before
        assert {path.name for path in tmp_path.iterdir()} == {'set', 'out'}

    def test_another_query_set_or_folder_is_refused(self, queries, tmp_path, make):
        make(queries, tmp_path / 'out')
        other = make_set(tmp_path / 'other', dict(reversed(SIZES.items())))
        for source, output in ((other, 'out'), (queries, 'set'), (queries, 'other')):
            before = contents(tmp_path / output)
            with refused(tmp_path / output):
                make(source, tmp_path / output)
            assert contents(tmp_path / output) == before

    def test_a_result_that_lost_a_file_is_refused(self, queries, tmp_path, make):
        make(queries, tmp_path / 'out')
        count = count_files(tmp_path / 'out')
        next(path for path in sorted((tmp_path / 'out').rglob('*')) if path.suffix in ('.png', '.mdb')).unlink()
        with refused(tmp_path / 'out', f' {count - 1} ', f' {count}'):
            make(queries, tmp_path / 'out')

    def test_an_interruption_leaves_nothing(self, queries, tmp_path, make, monkeypatch):
        (tmp_path / '.out.part').mkdir()  # of a process that was killed
        (tmp_path / '.out.part' / 'half').touch()
        (tmp_path / 'out').mkdir()
        module = sys.modules[{lmdb: export_lmdb, crop: crop_query_set, split: split_query_set}[make].__module__]
        last = 'write_json' if make is not crop else 'write_manifests'

        def stop(*_args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, last, stop)
            make(queries, tmp_path / 'out')
        assert not any((tmp_path / 'out').iterdir())
        assert not (tmp_path / '.out.part').exists()
        make(queries, tmp_path / 'out')
        make(queries, tmp_path / 'fresh')
        same = {name for name in contents(tmp_path / 'fresh') if not name.endswith('.mdb')}  # they hold a process id
        assert all(contents(tmp_path / 'out')[name] == contents(tmp_path / 'fresh')[name] for name in same)

    @pytest.mark.parametrize(
        ('damage', 'where', 'quoted', 'do'),
        [
            ('none', '--input', '/set', ''),
            ('torn', '/set/manifest.json', '', ''),
            ('foreign', '--input', '/set', 'tools/query.py'),
            ('incomplete', '/set', '', 'tools/query.py'),
            ('key', '/set/manifest.json', '', ''),
            ('path', '/set/manifest.json', '', ''),
            ('empty', '/set', ' 0 ', ''),
            ('gone', '/set/response/000001.png', '', ''),
            ('cut', '/set/query/000001.png', 'truncated', ''),
            ('replaced', '/set/query/000001.png', 'manifest.json', ''),
        ],
    )
    def test_an_incomplete_or_damaged_query_set_is_refused(self, queries, tmp_path, make, damage, where, quoted, do):
        path = queries / 'manifest.json'
        manifest = json.loads(path.read_text())
        if damage == 'none':
            path.unlink()
        elif damage == 'torn':
            path.write_text(path.read_text()[:-30])
        elif damage == 'foreign':
            path.write_text('{"recipe": "SubImageRecipe", "images": {}}')
        elif damage == 'incomplete':
            path.write_text(json.dumps({**manifest, 'complete': False}))
        elif damage == 'key':
            del manifest['pairs'][2]['response']
            path.write_text(json.dumps(manifest))
        elif damage == 'path':
            manifest['pairs'][2]['id'] = '../query/000002'
            path.write_text(json.dumps(manifest))
        elif damage == 'empty':
            path.write_text(json.dumps({**manifest, 'pairs': []}))
        elif damage == 'gone':
            (queries / 'response' / '000001.png').unlink()
        elif damage == 'cut':
            file = queries / 'query' / '000001.png'
            file.write_bytes(file.read_bytes()[:-100])
        else:
            write_png(queries / 'query' / '000001.png', photograph(SIZES['dog'], 99))
        with refused(where, quoted, do=do):
            make(queries, tmp_path / 'out')
        assert {path.name for path in tmp_path.iterdir()} == {'set'}


class TestLmdb:
    def test_it_holds_the_files_as_they_are(self, queries, tmp_path):
        assert export_lmdb(queries, tmp_path / 'out').made == 4
        for side, scale in (('query', 1), ('response', 2)):
            folder = tmp_path / 'out' / f'{side}.lmdb'
            found = image_references(folder)
            assert list(found) == ['000000', '000001', '000002', '000003']
            for entry, size in zip(lmdb_entries(folder), SIZES.values(), strict=True):
                assert query_set_lmdb_bytes(folder, entry.key) == (queries / side / f'{entry.key}.png').read_bytes()
                assert entry.size == (size[0] * scale, size[1] * scale) == found[entry.key].size()
            line = (folder / 'meta_info.txt').read_text().splitlines()[1]
            assert line == f'000001.png ({16 * scale},{16 * scale},3) 1'
        manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
        assert [pair['name'] for pair in manifest['pairs']] == list(SIZES)

    def test_the_map_grows_and_memory_does_not(self, queries, tmp_path, monkeypatch):
        monkeypatch.setattr(query_set_lmdb, '_MAP_BYTES', 1 << 14)
        monkeypatch.setattr(query_set_lmdb, '_BATCH_BYTES', 1)
        export_lmdb(queries, tmp_path / 'out')
        for side in ('query', 'response'):
            for key, image in image_references(tmp_path / 'out' / f'{side}.lmdb').items():
                np.testing.assert_array_equal(image.read(), read_rgb(queries / side / f'{key}.png'))

    def test_basicsr_reads_the_same_from_it(self, queries, tmp_path):
        import mea_plugin.basicsr  # noqa: F401 - work-arounds

        build_dataset = importlib.import_module('basicsr.data').build_dataset
        export_lmdb(queries, tmp_path / 'out')
        options = {'name': 'x', 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 2}
        disk = build_dataset({
            **options, 'io_backend': {'type': 'disk'}, 'meta_info_file': str(queries / 'meta_info.txt'),
            'dataroot_lq': str(queries / 'query'), 'dataroot_gt': str(queries / 'response'),
        })  # fmt: skip
        base = build_dataset({
            **options, 'io_backend': {'type': 'lmdb'},
            'dataroot_lq': str(tmp_path / 'out/query.lmdb'), 'dataroot_gt': str(tmp_path / 'out/response.lmdb'),
        })  # fmt: skip
        assert len(disk) == len(base) == 4
        for one, other in zip(disk, base, strict=True):
            for key in ('lq', 'gt'):
                np.testing.assert_array_equal(one[key].numpy(), other[key].numpy())


def query_set_lmdb_bytes(folder, key):
    library = query_set_lmdb.lmdb_library()
    with library.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return transaction.get(key.encode())


class TestCrop:
    @pytest.mark.parametrize(
        ('settings', 'expected'),
        [
            ({'crop': 16}, {'ape': 4, 'dog': 1, 'my cat': 4, 'one/zebra': 4}),
            ({'crop': 16, 'thresh': 4}, {'ape': 2, 'dog': 1, 'my cat': 2, 'one/zebra': 2}),
            ({'crop': 8, 'step': 4}, {'ape': 20, 'dog': 9, 'my cat': 28, 'one/zebra': 20}),
            ({'crop': 18, 'skip_small': True}, {'ape': 4, 'my cat': 2, 'one/zebra': 4}),
        ],
    )
    def test_crops_are_aligned_and_say_where_they_come_from(self, queries, tmp_path, settings, expected):
        result = crop_query_set(queries, tmp_path / 'out', **settings)
        manifest, found = check_set(tmp_path / 'out')
        assert result.made == sum(expected.values())
        names = [f'{name}_s{index + 1:03d}' for name, count in expected.items() for index in range(count)]
        assert list(found) == names
        by_id = dict(zip((f'{index:06d}' for index in range(4)), SIZES, strict=True))
        assert [by_id[parent] for parent in manifest['parents']] == [name.rpartition('_s')[0] for name in names]
        for query, response in found.values():
            assert query.shape == (settings['crop'], settings['crop'], 3)
            np.testing.assert_array_equal(response, query.repeat(2, 0).repeat(2, 1))

    def test_the_crops_cover_the_image_row_by_row(self, queries, tmp_path):
        crop_query_set(queries, tmp_path / 'out', crop=8)
        _, found = check_set(tmp_path / 'out')
        ape = photograph(SIZES['ape'], 0)
        corners = [(y, x) for y in (0, 8, 12) for x in (0, 8, 16)]
        for index, (y, x) in enumerate(corners, 1):
            np.testing.assert_array_equal(found[f'ape_s{index:03d}'][0], ape[y : y + 8, x : x + 8])

    def test_processes_make_the_same(self, tmp_path):
        make_set(tmp_path / 'set', {f'{index:03d}': (12, 12) for index in range(ITEMS_PER_WORKER + 1)})
        for jobs in (1, 2):
            crop_query_set(tmp_path / 'set', tmp_path / f'out{jobs}', crop=6, jobs=jobs)
        assert contents(tmp_path / 'out1') == contents(tmp_path / 'out2')

    @pytest.mark.parametrize(
        ('settings', 'where', 'quoted', 'do'),
        [
            ({'crop': 0}, '--crop', ('0', '1'), '1'),
            ({'crop': 8, 'step': 0}, '--step', ('0', '1'), '1'),
            ({'crop': 8, 'thresh': -1}, '--thresh', ('-1', '0'), '0'),
            ({'crop': 18}, 'query/000001.png', ('16x16', '18'), '--skip-small'),
            ({'crop': 99, 'skip_small': True}, '--input', (), '--crop'),
        ],
    )
    def test_numbers_that_cannot_be_used(self, queries, tmp_path, settings, where, quoted, do):
        with refused(where, *quoted, do=do):
            crop_query_set(queries, tmp_path / 'out', **settings)
        assert not (tmp_path / 'out').exists()


class TestSplit:
    def parts(self, folder, output, parts, seed=0):
        split_query_set(folder, output, parts=parts, seed=seed)
        return {part: set(check_set(output / part)[1]) for part in parts}

    def test_every_pair_is_on_one_side(self, tmp_path):
        queries = make_set(tmp_path / 'set', {f'{index:02d}': (8, 8) for index in range(20)})
        found = self.parts(queries, tmp_path / 'out', {'train': 0.8, 'val': 0.1, 'test': 0.1})
        assert {part: len(names) for part, names in found.items()} == {'train': 16, 'val': 2, 'test': 2}
        assert set.union(*found.values()) == {f'{index:02d}' for index in range(20)}
        for part in found:
            manifest, images = check_set(tmp_path / 'out' / part)
            for parent, (name, (query, _)) in zip(manifest['parents'], images.items(), strict=True):
                np.testing.assert_array_equal(query, photograph((8, 8), int(name)))
                assert int(parent) == int(name)
        assert sorted(found['train']) != [f'{index:02d}' for index in range(16)]  # in no order
        assert self.parts(queries, tmp_path / 'same', {'train': 0.8, 'val': 0.1, 'test': 0.1}) == found
        assert self.parts(queries, tmp_path / 'else', {'train': 0.8, 'val': 0.1, 'test': 0.1}, seed=1) != found

    def test_counts_and_a_rest(self, tmp_path):
        queries = make_set(tmp_path / 'set', {f'{index:02d}': (8, 8) for index in range(9)})
        found = self.parts(queries, tmp_path / 'out', {'a': 5, 'b': 1})
        assert [len(names) for names in found.values()] == [5, 1]
        assert not found['a'] & found['b']
        found = self.parts(queries, tmp_path / 'some', {'a': 0.34, 'b': 0.33})
        assert [len(names) for names in found.values()] == [3, 3]

    def test_crops_of_an_image_stay_together(self, tmp_path):
        make_set(tmp_path / 'set', dict.fromkeys(('a', 'b_s001', 'b_s002', 'c', 'd', 'e'), (16, 16)))
        crop_query_set(tmp_path / 'set', tmp_path / 'crops', crop=8)
        for seed in range(4):
            found = self.parts(tmp_path / 'crops', tmp_path / f'out{seed}', {'train': 0.6, 'val': 0.4}, seed=seed)
            first, second = ({name[0] for name in names} for names in found.values())
            assert not first & second
            assert first | second == set('abcde')

    def test_files_are_links_or_copies(self, queries, tmp_path, monkeypatch):
        split(queries, tmp_path / 'out')
        inodes = {path.stat().st_ino for path in queries.glob('*/*.png')}
        assert {path.stat().st_ino for path in (tmp_path / 'out').glob('*/*/*.png')} == inodes

        def refuse(*_args):
            raise OSError(18, 'Invalid cross-device link')

        monkeypatch.setattr('os.link', refuse)
        split(queries, tmp_path / 'copied')
        assert not {path.stat().st_ino for path in (tmp_path / 'copied').glob('*/*/*.png')} & inodes
        assert contents(tmp_path / 'copied') == contents(tmp_path / 'out')
        shutil.rmtree(queries)
        check_set(tmp_path / 'copied' / 'train')

    @pytest.mark.parametrize(
        ('parts', 'quoted', 'do'),
        [
            (['train'], ("'train'", 'NAME=NUMBER'), 'train=0.9'),
            (['train=many', 'val=1'], ("'train=many'", 'NAME=NUMBER'), 'train=0.9'),
            (['train=1', 'train=2'], ("'train'",), ''),
            (['train=0.5'], (), 'val=0.1'),
            (['train=0.5', 'val=1'], (), 'val=0.1'),
            (['a/b=1', 'val=1'], ("'a/b'",), '. _ -'),
            (['..=1', 'val=1'], ("'..'",), '. _ -'),
            (['train=0', 'val=1'], ("'train'", ' 0'), '0'),
            (['train=nan', 'val=0.1'], ("'train'", 'nan'), '0'),
            (['train=-1', 'val=0.1'], ("'train'", '-1'), '0'),
            (['train=0.9', 'val=0.2'], ('1.1', ' 1'), ''),
            (['train=3', 'val=2'], (' 5', ' 4'), ''),
            (['train=0.99', 'val=0.01'], ("'val'", '4'), ''),
        ],
    )
    def test_parts_that_do_not_fit(self, queries, tmp_path, parts, quoted, do):
        with refused('--parts', *quoted, do=do):
            split_query_set(queries, tmp_path / 'out', parts=parse_parts(parts))
        assert not (tmp_path / 'out').exists()


def test_the_tool(queries, tmp_path, capsys):
    commands = {
        'lmdb': [],
        'crop': ['--crop', 8, '--step', 8, '--thresh', 7],
        'split': ['--parts', 'train=0.75', 'val=0.25', '--seed', 3],
    }
    for command, options in commands.items():
        output = tmp_path / command
        arguments = [command, '--input', queries, '--output', output, '--jobs', 1, *options]
        assert call_tool('prepare_data', *arguments) == 0
        count = 4 if command != 'crop' else 6 + 4 + 6 + 6
        assert capsys.readouterr().out == f'{output}: {count} images made, 0 up to date\n'
    assert len(check_set(tmp_path / 'split' / 'train')[1]) == 3
    assert call_tool('prepare_data', 'lmdb', '--input', tmp_path, '--output', tmp_path / 'no') == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith('error: --input: ')
    assert str(tmp_path) in error
    assert 'manifest.json' in error
