"""What ``tools/doctor.py --verify`` finds in a folder of results, and what it would cost."""

import shutil
import subprocess
import sys

import pytest
import torch

from mea_plugin.core.images import write_png
from mea_plugin.core.records import write_record
from mea_plugin.doctor.verify import verify
from mea_plugin.serving.database import open_store
from mea_plugin.training import checkpoints
from tests.helpers import ROOT, photograph, refused
from tests.query.http_runs import make_images, run
from tests.victims.http.service import Service


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run's folder with everything that is checked in it."""
    folder = tmp_path_factory.mktemp('verify')
    output = folder / 'run'
    images = make_images(folder / 'images', 4)
    with Service() as service:
        run(service, images, output, options={'queries': {'cost_per_query': 0.5}})
    checkpoints.write(output / 'experiments' / 'a' / 'training_states' / '4.state', {'iter': 4, 'x': torch.ones(3)})
    torch.save({'params': {'w': torch.ones(64)}}, output / 'foreign.pth')
    write_record(output / 'evaluation' / 'evaluation.json', {'format': 3, 'name': 'x'})
    write_record(output / 'cells' / 'a.json', {'format': 2, 'key': 'k'})
    (output / 'flatness.json').write_text('{"format": 1}')
    open_store(output / 'service.sqlite').close()
    return output


@pytest.fixture
def output(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'run')


def flip(path, place=-20):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_nothing_is_damaged(output):
    before = {path: path.stat().st_mtime_ns for path in output.rglob('*') if path.is_file()}
    found = verify(output)
    assert not found.damage
    assert found.checked == {
        'ledgers': 1, 'answers': 4, 'databases': 1, 'query sets': 1, 'checkpoints and weights': 2, 'results': 2,
    }  # fmt: skip
    assert found.unhashed == {'results': 1}
    assert 'nothing is damaged' in str(found)
    after = {path: path.stat().st_mtime_ns for path in output.rglob('*') if path.is_file()}
    assert {path: after.get(path) for path in before} == before


def test_a_damaged_answer_has_a_price(output):
    answer = sorted((output / 'ledger' / 'pairs').rglob('*_response.png'))[1]
    other = photograph((16, 20), 99)
    write_png(answer, other)
    found = verify(output / 'ledger' / '..')
    (damage,) = [one for one in found.damage if one.queries]
    assert damage.path.name == answer.name
    assert (damage.queries, damage.charges, damage.price) == (1, 1, 0.5)
    assert 'to be asked again: 1 queries, of which charged: 1, 0.5 at the prices noted' in str(found)


@pytest.mark.parametrize(
    'name',
    [
        'experiments/a/training_states/4.state', 'foreign.pth', 'evaluation/evaluation.json', 'cells/a.json',
        'queries/query/000002.png', 'queries/response/000001.png',
    ],
)  # fmt: skip
def test_a_flipped_bit_is_found_where_it_is(output, name):
    path = output / name
    path.write_bytes(path.read_bytes())  # no longer the same file as another name's
    flip(path, 100 if path.suffix == '.png' else path.stat().st_size // 2)
    if path.suffix == '.png':
        shutil.rmtree(output / 'ledger')
    found = verify(output)
    assert [one.path.name for one in found.damage] == [path.name]


@pytest.mark.parametrize('name', ['ledger/ledger.sqlite', 'service.sqlite'])
def test_a_damaged_database_is_found(output, name):
    path = output / name
    data = bytearray(path.read_bytes())
    data[1000:3000] = bytes(2000)
    path.write_bytes(data)
    assert path.name in {one.path.name for one in verify(output).damage}


def test_a_ledger_that_does_not_add_up_is_found(output):
    import sqlite3

    with sqlite3.connect(output / 'ledger' / 'ledger.sqlite') as database:
        database.execute('UPDATE account SET spent = spent - 1')
    database.close()
    (damage,) = verify(output).damage
    assert damage.path.name == 'ledger.sqlite'
    assert damage.queries == 4


def test_links_are_not_followed(output, tmp_path):
    elsewhere = tmp_path / 'elsewhere.pth'
    elsewhere.write_bytes(b'damaged')
    (output / 'link.pth').symlink_to(elsewhere)
    assert not verify(output).damage


def test_the_tool(output):
    command = [sys.executable, str(ROOT / 'tools/doctor.py'), '--verify']
    done = subprocess.run([*command, str(output)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    flip(output / 'experiments/a/training_states/4.state', 50)
    done = subprocess.run([*command, str(output)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert '4.state' in done.stdout
    done = subprocess.run([*command, str(output / 'nowhere')], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1
    with refused(output / 'nowhere'):
        verify(output / 'nowhere')
