"""The query engine and the query set: budget, resume, extension, and nothing half-written that passes for whole."""

import errno
import json
import os

import numpy as np
import pytest

from mea_plugin.core.files import hash_array
from mea_plugin.core.images import read_rgb
from mea_plugin.query import run_queries
from mea_plugin.query.engine import ledger_folder
from mea_plugin.query.ledger import Ledger
from mea_plugin.query_sets import QuerySet, check_complete
from tests.helpers import photograph, refused, save


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
    import mea_plugin.basicsr  # noqa: F401, I001 - the work-arounds come first
    from basicsr.data import build_dataset

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
    with refused(tmp_path / 'set', do='tools/query.py'):
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


def test_a_budget_is_for_all_runs(images, tmp_path):
    victim = Doubler()
    run_queries(victim, images, tmp_path / 'set', budget=4)
    save(images['dog'], photograph((16, 16), 50))
    with refused('ledger.sqlite', '4', '3', '1', do=('queries.budget', '5')):
        run_queries(victim, images, tmp_path / 'set', budget=4)
    assert victim.asked == 4
    check_complete(tmp_path / 'set')  # of what is answered
    assert [pair['name'] for pair in QuerySet(tmp_path / 'set').manifest()['pairs']] == ['ape', 'my cat', 'zebra']
    run_queries(victim, images, tmp_path / 'set', budget=5)
    assert victim.asked == 5


def test_a_lost_answer_of_a_victim_that_is_here_is_not_charged_again(images, tmp_path):
    victim = Doubler()
    queries = run_queries(victim, images, tmp_path / 'set', budget=4)
    queries.paths('000001')[1].write_bytes(b'damaged')
    run_queries(victim, images, tmp_path / 'set', budget=4)
    assert victim.asked == 5
    with Ledger(ledger_folder(tmp_path / 'set'), create=False) as ledger:
        assert ledger.spent == 4


def test_equal_images_are_one_query_and_one_pair(images, tmp_path):
    victim = Doubler()
    images['ape twin'] = save(tmp_path / 'images' / 'ape twin.bmp', read_rgb(images['ape']))
    queries = run_queries(victim, images, tmp_path / 'set', budget=5)
    assert victim.asked == 4
    assert [pair['name'] for pair in queries.manifest()['pairs']] == ['ape', 'dog', 'my cat', 'zebra']


def test_other_images_of_the_same_victim_use_what_was_paid_for(images, tmp_path):
    victim = Doubler()
    run_queries(victim, images, tmp_path / 'set')
    some = {name: images[name] for name in ('zebra', 'dog')}
    some['aaa'] = save(tmp_path / 'images' / 'aaa.png', photograph((20, 24), 60))
    queries = run_queries(victim, some, tmp_path / 'set')
    assert victim.asked == 5
    assert [pair['name'] for pair in queries.manifest()['pairs']] == ['aaa', 'dog', 'zebra']
    for kind in ('query', 'response'):
        assert sorted(path.name for path in (queries.folder / kind).iterdir()) == [f'00000{i}.png' for i in range(3)]
    for pair in queries.manifest()['pairs']:
        query, response = (read_rgb(path) for path in queries.paths(pair['id']))
        np.testing.assert_array_equal(query, read_rgb(some[pair['name']]))
        np.testing.assert_array_equal(response[::2, ::2], query)
    run_queries(victim, images, tmp_path / 'set')
    assert victim.asked == 5


def damage(path):
    """Other content of the same size, in the very file."""
    image = read_rgb(path)
    data = path.read_bytes()
    save(path, 255 - image)
    path.write_bytes(path.read_bytes()[: len(data)].ljust(len(data), b'\0'))


@pytest.mark.parametrize(
    ('fault', 'asked', 'verify'),
    [
        (lambda query, response: response.write_bytes(response.read_bytes()[:-40]), 5, False),
        (lambda query, response: query.unlink(), 4, False),  # made again, from the image
        (lambda query, response: response.unlink(), 4, False),  # the ledger has it still
        (lambda query, response: damage(response), 4, False),  # not to be seen without reading it
        (lambda query, response: damage(response), 5, True),
        (lambda query, response: damage(query), 4, True),
    ],
)
def test_a_damaged_pair_is_asked_again(images, tmp_path, fault, asked, verify, capsys):
    victim = Doubler()
    queries = run_queries(victim, images, tmp_path / 'set')
    query, response = queries.paths('000001')
    fault(query, response)
    if not response.exists():
        with refused(response):
            check_complete(queries.folder)
    run_queries(victim, images, tmp_path / 'set', verify=verify)
    assert victim.asked == asked
    assert ('1 answers were damaged or gone' in capsys.readouterr().out) == (asked == 5)
    if asked == 5 or verify:
        np.testing.assert_array_equal(read_rgb(query), read_rgb(images['dog']))
        np.testing.assert_array_equal(read_rgb(response)[::2, ::2], read_rgb(images['dog']))


def test_a_changed_file_is_noticed_and_one_that_only_looks_so_is_not_asked_again(images, tmp_path):
    victim = Doubler()
    run_queries(victim, images, tmp_path / 'set')
    images['dog'].touch()
    run_queries(victim, images, tmp_path / 'set')
    assert victim.asked == 4
    stat = images['dog'].stat()
    damage(images['dog'])
    os.utime(images['dog'], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert images['dog'].stat().st_size == stat.st_size
    run_queries(victim, images, tmp_path / 'set')
    assert victim.asked == 4  # size, time and inode are those of before
    run_queries(victim, images, tmp_path / 'set', verify=True)
    assert victim.asked == 5


@pytest.mark.parametrize('link', [os.link, None])
def test_where_files_cannot_be_linked_they_are_copied(images, tmp_path, link, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, 'no links here')

    monkeypatch.setattr(os, 'link', link or refuse)
    victim = Doubler()
    queries = run_queries(victim, images, tmp_path / 'set')
    paths = queries.paths('000000')
    assert (paths[0].stat().st_nlink == 2) == (link is not None)
    before = [path.stat().st_ino for path in paths]
    images['zzz'] = save(tmp_path / 'images' / 'zzz.png', photograph((20, 24), 60))
    run_queries(victim, images, tmp_path / 'set')
    assert [path.stat().st_ino for path in paths] == before
    check_complete(queries.folder)


def test_batches_are_of_one_size_whatever_the_order_of_names(images, tmp_path):
    sizes = []

    class Noting(Doubler):
        def query(self, batch):
            sizes.append([image.shape[:2] for image in batch])
            return super().query(batch)

    run_queries(Noting(), images, tmp_path / 'set')
    assert sorted(map(len, sizes)) == [1, 1, 2]
    assert all(len(set(batch)) == 1 for batch in sizes)


def test_a_failing_victim_is_charged_for_what_it_answered(images, tmp_path):
    with pytest.raises(ConnectionError):
        run_queries(Doubler(fail_after=2), images, tmp_path / 'set', batch_size=1)
    with Ledger(ledger_folder(tmp_path / 'set'), create=False) as ledger:
        assert ledger.spent == 2


def test_another_victim_s_set_is_refused_or_moved_aside(images, tmp_path):
    run_queries(Doubler(), images, tmp_path / 'set')
    other = Doubler()
    other.fingerprint = 'doubler-2'
    with refused(tmp_path / 'set'):
        run_queries(other, images, tmp_path / 'set')
    with refused('ledger.sqlite', "'doubler'", 'doubler-1', 'doubler-2'):
        run_queries(other, images, tmp_path / 'another set')
    assert other.asked == 0
    run_queries(other, images, tmp_path / 'set', move_other_aside=True)
    (aside,) = tmp_path.glob('set_archived_*')
    assert len(list(tmp_path.glob('ledger_archived_*'))) == 1
    assert json.loads((aside / 'manifest.json').read_text())['description']['victim']['fingerprint'] == 'doubler-1'
    assert QuerySet(tmp_path / 'set').manifest()['description']['victim']['fingerprint'] == 'doubler-2'


def test_a_folder_of_other_files_is_refused(images, tmp_path):
    save(tmp_path / 'set' / 'holiday.png', photograph((8, 8)))
    with refused(tmp_path / 'set'):
        run_queries(Doubler(), images, tmp_path / 'set')
    assert [path.name for path in (tmp_path / 'set').iterdir()] == ['holiday.png']


@pytest.mark.parametrize(
    ('option', 'value'),
    [('budget', 0), ('budget', -3), ('shrink', 0)],
)
def test_impossible_numbers_are_refused_before_anything_is_written(images, tmp_path, option, value):
    victim = Doubler()
    with refused(f'queries.{option}', str(value), do='1'):
        run_queries(victim, images, tmp_path / 'set', **{option: value})
    assert victim.asked == 0
    assert not (tmp_path / 'set').exists()
    assert not (tmp_path / 'ledger').exists()


def test_a_bad_image_is_found_before_the_first_query(images, tmp_path):
    images['yak'] = save(tmp_path / 'images' / 'yak.png', np.zeros((9, 9), np.uint16))
    victim = Doubler()
    with refused('yak.png', 'mode I;16'):
        run_queries(victim, images, tmp_path / 'set')
    assert victim.asked == 0
    assert not (tmp_path / 'set').exists()
    assert not (tmp_path / 'ledger').exists()


def test_an_answer_of_the_wrong_size_is_refused(images, tmp_path):
    victim = Doubler()
    victim.scale = 3
    with refused('victim doubler', 'uint8 (32, 32, 3)', '(16, 16, 3)'):
        run_queries(victim, images, tmp_path / 'set')
    with refused(tmp_path / 'set', do='tools/query.py'):
        check_complete(tmp_path / 'set')


def test_shrink_makes_queries_small_by_matlab_s_bicubic(tmp_path):
    path = save(tmp_path / 'big.png', photograph((41, 66)))
    queries = run_queries(Doubler(), {'big': path}, tmp_path / 'set', shrink=4)
    assert read_rgb(queries.paths('000000')[0]).shape == (10, 16, 3)
