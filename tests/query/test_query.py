"""The query engine and the query set: budget, resume, extension, and nothing half-written that passes for whole."""

import json
import re

import numpy as np
import pytest

from mea_plugin.errors import InputError
from mea_plugin.files import hash_array
from mea_plugin.images import read_rgb
from mea_plugin.query import QuerySet, check_complete, run_queries
from tests.helpers import photograph, save


class Doubler:
    """A victim that repeats every pixel, counts what it is asked, and can be made to fail."""

    name = 'doubler'
    scale = 2
    fingerprint = 'doubler-1'

    def __init__(self, fail_after: int | None = None):
        self.asked = 0
        self.fail_after = fail_after

    def query(self, images):
        answers = []
        for image in images:
            if self.fail_after is not None and self.asked >= self.fail_after:
                raise ConnectionError('the victim is gone')
            self.asked += 1
            answers.append(image.repeat(2, 0).repeat(2, 1))
        return answers


@pytest.fixture
def images(tmp_path):
    sizes = {'zebra': (20, 24), 'ape': (20, 24), 'my cat': (18, 30), 'dog': (16, 16)}
    return {
        name: save(tmp_path / 'images' / f'{name}.png', photograph(size, index))
        for index, (name, size) in enumerate(sizes.items())
    }


def test_a_query_set_round_trips(images, tmp_path):
    queries = run_queries(Doubler(), images, tmp_path / 'set', options={'victim': {'type': 'doubler'}})
    manifest = queries.manifest()
    assert manifest['options'] == {'victim': {'type': 'doubler'}}
    assert [pair['name'] for pair in manifest['pairs']] == ['ape', 'dog', 'my cat', 'zebra']
    lines = (tmp_path / 'set' / 'meta_info.txt').read_text().splitlines()
    for pair, line in zip(manifest['pairs'], lines, strict=True):
        query, response = (read_rgb(path) for path in queries.paths(pair['id']))
        original = read_rgb(images[pair['name']])
        np.testing.assert_array_equal(query, original)
        np.testing.assert_array_equal(response, original.repeat(2, 0).repeat(2, 1))
        assert hash_array(response) == pair['response']
        name, shape = line.split(' ')
        assert name == f'{pair["id"]}.png'
        assert shape == '({},{},{})'.format(*response.shape)
    assert manifest['description']['victim']['fingerprint'] == 'doubler-1'
    assert manifest['complete'] is True


def test_basicsr_reads_it_as_lq_and_gt(images, tmp_path):
    from basicsr.data import build_dataset

    import mea_plugin.basicsr  # noqa: F401 - work-arounds

    queries = run_queries(Doubler(), images, tmp_path / 'set')
    folder = queries.folder
    options = {
        'name': 'set', 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 2, 'io_backend': {'type': 'disk'},
        'dataroot_lq': str(folder / 'query'), 'dataroot_gt': str(folder / 'response'),
        'meta_info_file': str(folder / 'meta_info.txt'),
    }  # fmt: skip
    dataset = build_dataset(options)
    assert len(dataset) == 4
    for item, name in zip(dataset, ('ape', 'dog', 'my cat', 'zebra'), strict=True):
        query = (item['lq'].permute(1, 2, 0).numpy() * 255).round()
        np.testing.assert_array_equal(query, read_rgb(images[name]))
        np.testing.assert_array_equal(item['gt'][:, ::2, ::2].numpy(), item['lq'].numpy())


@pytest.mark.parametrize('batch_size', [1, 3, 8])
def test_nothing_is_asked_twice(images, tmp_path, batch_size):
    victim = Doubler()
    run_queries(victim, images, tmp_path / 'set', batch_size=batch_size)
    before = (tmp_path / 'set' / 'manifest.json').read_bytes()
    run_queries(victim, images, tmp_path / 'set', batch_size=batch_size)
    assert victim.asked == 4
    assert (tmp_path / 'set' / 'manifest.json').read_bytes() == before


@pytest.mark.parametrize('fail_after', [0, 1, 3])
def test_an_interrupted_run_is_incomplete_and_goes_on(images, tmp_path, fail_after):
    with pytest.raises(ConnectionError):
        run_queries(Doubler(fail_after), images, tmp_path / 'set', batch_size=1)
    with pytest.raises(InputError, match='the query set is incomplete'):
        check_complete(tmp_path / 'set')
    victim = Doubler()
    run_queries(victim, images, tmp_path / 'set', batch_size=1)
    assert victim.asked == 4 - fail_after
    check_complete(tmp_path / 'set')


def test_a_larger_budget_extends_the_set(images, tmp_path):
    victim = Doubler()
    run_queries(victim, images, tmp_path / 'set', budget=1)
    assert victim.asked == 1
    queries = run_queries(victim, images, tmp_path / 'set', budget=3)
    assert victim.asked == 3
    assert [pair['name'] for pair in queries.manifest()['pairs']] == ['ape', 'dog', 'my cat']


@pytest.mark.parametrize('damage', ['truncate', 'remove', 'replace'])
def test_a_damaged_pair_is_asked_again(images, tmp_path, damage):
    victim = Doubler()
    queries = run_queries(victim, images, tmp_path / 'set')
    query, response = queries.paths('000001')
    if damage == 'truncate':
        response.write_bytes(response.read_bytes()[:-40])
    elif damage == 'remove':
        response.unlink()
        with pytest.raises(InputError, match='an image of the query set is gone'):
            check_complete(queries.folder)
    else:
        save(query, photograph((16, 16), 99))
    run_queries(victim, images, tmp_path / 'set')
    assert victim.asked == 5
    np.testing.assert_array_equal(read_rgb(query), read_rgb(images['dog']))
    np.testing.assert_array_equal(read_rgb(response)[::2, ::2], read_rgb(images['dog']))


def test_another_victim_s_set_is_refused_or_moved_aside(images, tmp_path):
    run_queries(Doubler(), images, tmp_path / 'set')
    other = Doubler()
    other.fingerprint = 'doubler-2'
    with pytest.raises(InputError, match='holds another query set'):
        run_queries(other, images, tmp_path / 'set')
    assert other.asked == 0
    run_queries(other, images, tmp_path / 'set', move_other_aside=True)
    (aside,) = tmp_path.glob('set_archived_*')
    assert json.loads((aside / 'manifest.json').read_text())['description']['victim']['fingerprint'] == 'doubler-1'
    assert QuerySet(tmp_path / 'set').manifest()['description']['victim']['fingerprint'] == 'doubler-2'


def test_a_folder_of_other_files_is_refused(images, tmp_path):
    save(tmp_path / 'set' / 'holiday.png', photograph((8, 8)))
    with pytest.raises(InputError, match='holds another query set'):
        run_queries(Doubler(), images, tmp_path / 'set')
    assert [path.name for path in (tmp_path / 'set').iterdir()] == ['holiday.png']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [({'budget': 0}, 'the budget is 0'), ({'budget': -3}, 'the budget is -3'), ({'shrink': 0}, 'shrink is 0')],
)
def test_impossible_numbers_are_refused_before_anything_is_written(images, tmp_path, arguments, message):
    victim = Doubler()
    with pytest.raises(InputError, match=message):
        run_queries(victim, images, tmp_path / 'set', **arguments)
    assert victim.asked == 0
    assert not (tmp_path / 'set').exists()


def test_a_bad_image_is_found_before_the_first_query(images, tmp_path):
    images['yak'] = save(tmp_path / 'images' / 'yak.png', np.zeros((9, 9), np.uint16))
    victim = Doubler()
    with pytest.raises(InputError, match=re.escape('yak.png') + '.*more than 8 bits'):
        run_queries(victim, images, tmp_path / 'set')
    assert victim.asked == 0
    assert not (tmp_path / 'set').exists()


def test_an_answer_of_the_wrong_size_is_refused(images, tmp_path):
    victim = Doubler()
    victim.scale = 3
    with pytest.raises(InputError, match=r'victim doubler: answered uint8 \(40, 48, 3\) to a query of \(20, 24, 3\)'):
        run_queries(victim, images, tmp_path / 'set')
    with pytest.raises(InputError, match='incomplete'):
        check_complete(tmp_path / 'set')


def test_shrink_makes_queries_small_by_matlab_s_bicubic(tmp_path):
    path = save(tmp_path / 'big.png', photograph((41, 66)))
    queries = run_queries(Doubler(), {'big': path}, tmp_path / 'set', shrink=4)
    assert read_rgb(queries.paths('000000')[0]).shape == (10, 16, 3)
