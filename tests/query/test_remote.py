"""Runs against a service that fails: nothing is lost, nothing is paid for twice, and what is not known is said."""

import asyncio
import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.errors import InputError, Stopped
from mea_plugin.core.files import hash_array
from mea_plugin.core.images import read_rgb
from mea_plugin.query import ledger as ledger_module
from mea_plugin.query import local
from mea_plugin.query.ledger import Ledger
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.query.remote import OUTCOMES
from mea_plugin.victims import build_victim
from tests.helpers import photograph, refused, save
from tests.query.http_runs import QUICK, Account, SlowVictim, check_all_answered_once, http_options, make_images, run
from tests.victims.http.service import FAULTS, Answer, Billing, Service, double, doubled

HONOURS = {'idempotency': True, 'timeout': 0.3, 'concurrency': 8}


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / 'images', 12)


def until_done(*arguments, **options):
    """Run again and again, as a user would, until there is nothing left to be done."""
    for _ in range(40):
        with contextlib.suppress(InputError):
            return run(*arguments, **options)
    return run(*arguments, **options)


# A service that honours keys


def test_all_faults_at_random(server, tmp_path):
    images = make_images(tmp_path / 'images', 60)
    billing = Billing(faults=FAULTS, chance=0.6, seed=1)
    server.reset(billing)
    until_done(server, images, tmp_path, victim=HONOURS)
    assert set(billing.injected) == {*FAULTS, ''}  # each has happened
    check_all_answered_once(tmp_path, images, billing)
    asked = len(server.requests)
    run(server, images, tmp_path, victim=HONOURS, verify=True)
    assert len(server.requests) == asked


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault(server, tmp_path, images, fault, capsys):
    billing = Billing(faults=(fault,), chance=0.6)
    server.reset(billing)
    until_done(server, images, tmp_path, victim=HONOURS)
    assert billing.injected[fault] > 0
    check_all_answered_once(tmp_path, images, billing)
    told = capsys.readouterr().err
    in_doubt = fault != '429'
    assert told.count('in doubt') == (billing.injected[fault] if in_doubt else 0)
    assert (OUTCOMES['free'] in told) == in_doubt


def test_equal_images_are_one_query(server, tmp_path):
    images = {f'{index}': save(tmp_path / f'{index}.png', photograph((8, 8), index // 4)) for index in range(12)}
    billing = Billing(delay=0.02)
    server.reset(billing)
    run(server, images, tmp_path, victim={'concurrency': 12})
    assert len(server.requests) == 3
    check_all_answered_once(tmp_path, images, billing)


def test_a_known_content_is_not_sent_whatever_its_file_is_called(server, tmp_path, images):
    billing = Billing()
    server.reset(billing)
    run(server, images, tmp_path)
    renamed = {}
    for name, path in images.items():
        renamed[f'x{name}'] = path.with_name(f'x{name}.bmp')
        Image.open(path).save(renamed[f'x{name}'])
    queries = run(server, renamed, tmp_path)
    assert len(server.requests) == 12
    assert [pair['name'] for pair in queries.manifest()['pairs']] == sorted(renamed)


def test_what_the_file_system_does_not_tell_is_found_by_hashing_again(server, tmp_path):
    path = save(tmp_path / 'a.bmp', photograph((8, 8), 1))
    server.reset(double)
    run(server, {'a': path}, tmp_path)
    stat = path.stat()
    with path.open('r+b') as file:  # the same inode, size and time
        file.seek(-30, os.SEEK_END)
        file.write(bytes(range(30)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run(server, {'a': path}, tmp_path)
    assert len(server.requests) == 1
    queries = run(server, {'a': path}, tmp_path, verify=True)
    assert len(server.requests) == 2
    np.testing.assert_array_equal(read_rgb(queries.paths('000000')[0]), read_rgb(path))


# One that does not


@pytest.mark.parametrize('fault', ['reset', 'reset after', 'stall', 'half', 'cut', 'size', 'html', '502'])
def test_abandon_sends_nothing_twice(server, tmp_path, images, fault, capsys):
    billing = Billing(idempotent=False, faults=(fault,), chance=0.3)
    server.reset(billing)
    until_done(server, images, tmp_path, victim={'timeout': 0.3}, in_doubt='abandon')
    failed = billing.injected[fault]
    assert failed > 0
    assert max(billing.asked.values()) == 1
    account = Account(tmp_path)
    assert (account.spent, account.count('given up'), account.settled) == (12, failed, 12 - failed)
    assert sum(billing.billed.values()) <= account.spent
    told = capsys.readouterr().err
    assert told.count(OUTCOMES['abandon']) == failed


def test_resend_charges_each_attempt(server, tmp_path, images, capsys):
    billing = Billing(idempotent=False, faults=('reset', 'reset after', 'half', '429'), chance=0.5)
    server.reset(billing)
    until_done(server, images, tmp_path, victim={'timeout': 0.3}, in_doubt='resend')
    account = Account(tmp_path)
    assert account.settled == 12
    assert account.spent == len(server.requests) - billing.injected['429']
    assert sum(billing.billed.values()) == account.spent - billing.injected['reset']
    assert capsys.readouterr().err.count(OUTCOMES['resend']) == account.spent - 12


def test_resend_stays_within_the_budget(server, tmp_path, images):
    billing = Billing(idempotent=False, faults=('reset after',), chance=0.5)
    server.reset(billing)
    with refused('ledger.sqlite', '12', do='queries.budget'):
        run(server, images, tmp_path, in_doubt='resend', budget=12)
    assert len(server.requests) == 12 == Account(tmp_path).spent


@pytest.mark.parametrize('in_doubt', ['resend', 'abandon'])
def test_refusals_cost_nothing(server, tmp_path, images, in_doubt):
    billing = Billing(idempotent=False, faults=('429', '500'), chance=0.6)
    server.reset(billing)
    run(server, images, tmp_path, victim={'unbilled': [500]}, in_doubt=in_doubt, budget=12)
    assert len(server.requests) > 12
    check_all_answered_once(tmp_path, images, billing)


# Services that do not work at all


@pytest.mark.parametrize('status', [400, 401, 404, 422])
def test_a_rejection_ends_the_run_and_costs_nothing(server, tmp_path, images, status):
    server.reset(lambda request: Answer(status, b'no'))
    with refused(server.url, str(status)):
        run(server, images, tmp_path, victim={'concurrency': 1})
    assert len(server.requests) == 1
    assert Account(tmp_path).spent == 0


def test_a_dead_service_ends_the_run_and_costs_nothing(tmp_path, images):
    with Service() as dead:
        pass
    with refused('victim'):
        run(dead, images, tmp_path)
    assert Account(tmp_path).spent == 0


def test_a_service_that_asks_for_too_much_patience_ends_the_run(server, tmp_path, images):
    server.reset(lambda request: Answer(429, headers={'Retry-After': '5000'}))
    with refused('victim.retry.patience', '5000 s'):
        run(server, images, tmp_path)
    assert len(server.requests) <= 4
    assert Account(tmp_path).spent == 0


def test_a_service_that_only_talks_nonsense_is_not_paid_for_long(server, tmp_path, images):
    server.reset(lambda request: Answer(body=b'<html>'))
    with refused('victim', "'<html>'"):
        run(server, images, tmp_path, victim={'concurrency': 1})
    assert Account(tmp_path).spent == 3 == len(server.requests)


def test_one_query_that_fails_does_not_stop_the_others(server, tmp_path, images):
    bad = hash_array(read_rgb(images['003']))
    server.reset(lambda request: Answer(500) if hash_array(request.image()) == bad else double(request))
    with refused('victim', '500'):
        run(server, images, tmp_path, victim={'retry': {**QUICK, 'attempts': 2}, 'unbilled': [500]})
    account = Account(tmp_path)
    assert (account.settled, account.spent, account.states[bad]) == (11, 11, 'open')


def failing(images, name, others):
    """A handler that rejects one image at once, when the others are on their way, which it answers later."""
    bad, flying = hash_array(read_rgb(images[name])), []

    async def handler(request):
        flying.append(request)
        while len(flying) < others:
            await asyncio.sleep(0.001)
        if hash_array(request.image()) == bad:
            return Answer(401, b'no')
        await asyncio.sleep(0.1)
        return double(request)

    return handler


@pytest.mark.parametrize('idempotency', [True, False])
def test_what_is_on_its_way_is_waited_for_when_another_fails_for_good(server, tmp_path, images, idempotency):
    server.reset(failing(images, '000', 4))
    with refused(server.url, '401'):
        run(server, images, tmp_path, victim={'concurrency': 4, 'idempotency': idempotency})
    assert len(server.requests) == 4
    account = Account(tmp_path)
    assert (account.settled, account.spent, account.count('given up')) == (3, 3, 0)


def test_a_query_image_that_is_corrupt_loses_none_of_the_others(server, tmp_path, images):
    data = bytearray(images['004'].read_bytes())
    data[60:90] = bytes(30)  # the header is whole
    images['004'].write_bytes(data)
    billing = Billing(delay=0.05)
    server.reset(billing)
    with refused('004.png'):
        run(server, images, tmp_path, victim={'concurrency': 4})
    account = Account(tmp_path)
    assert account.settled == account.spent == len(server.requests)
    del images['004']
    run(server, images, tmp_path)
    assert Account(tmp_path).spent == 11 == len(server.requests)


# Disks


def test_nothing_is_sent_when_the_disk_is_almost_full(server, tmp_path, images, monkeypatch):
    server.reset(double)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(ledger_module.shutil, 'disk_usage', lambda path: usage._replace(free=1 << 20))
    with refused('ledger', '1 MiB'):
        run(server, images, tmp_path)
    assert not server.requests


def test_an_answer_that_does_not_fit_is_asked_for_again_at_no_cost(server, tmp_path, images, monkeypatch):
    billing = Billing()
    server.reset(billing)
    whole, written = local.write_bytes, []

    def write_bytes(path, data):
        written.append(path)
        if len(written) > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(path, data)

    monkeypatch.setattr(local, 'write_bytes', write_bytes)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        run(server, images, tmp_path, victim={'idempotency': True, 'concurrency': 3})
    monkeypatch.undo()
    assert Account(tmp_path).settled == 4
    run(server, images, tmp_path, victim={'idempotency': True})
    check_all_answered_once(tmp_path, images, billing)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], capture_output=True)
    if mounted.returncode:
        pytest.skip('a file system cannot be mounted here')
    yield folder
    subprocess.run(['umount', folder], check=True)


def remount(folder, option):
    subprocess.run(['mount', '-o', f'remount,{option}', folder], check=True)


def test_a_disk_that_is_really_full(server, tmp_path, small_disk, monkeypatch):
    images = {f'{one}': save(tmp_path / f'{one}.png', photograph((90, 90), one)) for one in range(16)}
    billing = Billing()
    server.reset(billing)
    monkeypatch.setattr(ledger_module, '_SPARE', 0)
    with pytest.raises((InputError, OSError)) as caught:
        run(server, images, small_disk, victim=HONOURS)
    assert isinstance(caught.value, InputError) or caught.value.errno == errno.ENOSPC
    assert 0 < len(billing.billed) < 16
    remount(small_disk, 'size=64m')
    run(server, images, small_disk, victim=HONOURS)
    check_all_answered_once(small_disk, images, billing)


def test_a_read_only_disk_is_refused_before_anything_is_sent(server, small_disk, images):
    billing = Billing()
    server.reset(billing)
    remount(small_disk, 'ro')
    with refused('ledger.sqlite'):
        run(server, images, small_disk)
    remount(small_disk, 'rw,size=64m')
    assert not server.requests
    run(server, images, small_disk)
    run(server, images, small_disk)
    assert len(server.requests) == 12


def test_an_output_that_is_a_file_is_refused_before_anything_is_sent(server, tmp_path, images):
    server.reset(double)
    (tmp_path / 'out').touch()
    with refused('ledger.sqlite', os.strerror(errno.ENOTDIR)):
        run(server, images, tmp_path / 'out')
    assert not server.requests


# Ledgers


def test_the_ledger_of_another_victim_is_refused(server, tmp_path, images):
    server.reset(double)
    run(server, images, tmp_path)
    shutil.rmtree(tmp_path / 'queries')
    server.reset(double)
    victims = [build_victim(http_options(server, **options)) for options in ({}, {'version': '2'})]
    with refused('ledger.sqlite', *(victim.fingerprint[:12] for victim in victims)):
        run(server, images, tmp_path, victim={'version': '2'})
    assert not server.requests
    assert Account(tmp_path).settled == 12


def test_a_damaged_ledger_is_refused(server, tmp_path, images):
    server.reset(double)
    run(server, images, tmp_path)
    (tmp_path / 'ledger' / 'ledger.sqlite').write_bytes(b'no database' * 1000)
    server.reset(double)
    with refused(tmp_path / 'ledger' / 'ledger.sqlite', 'database'):
        run(server, images, tmp_path)
    assert not server.requests


@pytest.mark.parametrize('damage', ['removed', 'cut', 'changed'])
def test_a_damaged_answer_is_asked_for_again_only_when_that_is_asked_for(server, tmp_path, images, damage, capsys):
    billing = Billing()
    server.reset(billing)
    run(server, images, tmp_path, victim=HONOURS)
    with Ledger(tmp_path / 'ledger') as ledger:
        response = ledger.pair(5)[1]
    data = bytearray(response.read_bytes())
    response.unlink()  # the query set holds another name of the same file
    if damage == 'cut':
        response.write_bytes(data[:-20])
    elif damage == 'changed':
        data = photograph((16, 20), 77)
        whole = response.parent / 'x.png'
        save(whole, data)
        whole.rename(response)
    with refused(response.name, '1', do='--buy-again'):
        run(server, images, tmp_path, victim=HONOURS, verify=damage == 'changed')
    assert len(server.requests) == 12
    run(server, images, tmp_path, victim=HONOURS, verify=damage == 'changed', buy_again=True)
    assert '1 answers were damaged or gone, and are asked for again' in capsys.readouterr().out
    account = Account(tmp_path)
    assert (account.settled, account.spent, len(server.requests)) == (12, 13, 13)


# Ctrl-C


def interrupting(after, delay=0.0):
    """A handler that presses Ctrl-C in this process at the ``after``-th request, and lets the later ones wait."""
    billing, count = Billing(delay=delay), []

    async def handler(request):
        count.append(request)
        number = len(count)  # before others come while this one is answered
        answer = await billing(request)
        if number == after:
            os.kill(os.getpid(), signal.SIGINT)
        return Answer(then='stall') if number >= after else answer

    return handler, billing


def test_what_is_on_its_way_at_ctrl_c_is_settled_or_in_doubt(server, tmp_path, images):
    handler, billing = interrupting(6)
    server.reset(handler)
    with pytest.raises(KeyboardInterrupt):
        run(server, images, tmp_path, victim={'idempotency': True, 'concurrency': 4}, stop_wait=0.2)
    with Ledger(tmp_path / 'ledger') as ledger:
        outcomes = [outcome for (outcome,) in ledger.rows('SELECT outcome FROM attempts')]
        notes = {note for (note,) in ledger.rows("SELECT note FROM attempts WHERE outcome = 'doubt'")}
    assert 'sent' not in outcomes
    assert outcomes.count('doubt') > 0
    assert notes == {'interrupted'}
    assert sum(billing.billed.values()) <= Account(tmp_path).spent
    server.handler = billing
    run(server, images, tmp_path, victim={'idempotency': True})
    check_all_answered_once(tmp_path, images, billing)


def test_ctrl_c_charges_nothing_that_waits_for_its_turn(server, tmp_path, images):
    handler, _ = interrupting(1)
    server.reset(handler)
    with pytest.raises(KeyboardInterrupt):
        run(server, images, tmp_path, victim={'concurrency': 4, 'rate_limit': 0.01}, stop_wait=0.2)
    account = Account(tmp_path)
    assert len(server.requests) == 1
    assert (account.spent, account.count('given up'), account.settled) == (1, 1, 0)


def test_ctrl_c_while_others_are_waited_for_puts_them_in_doubt(server, tmp_path, images):
    bad, flying = hash_array(read_rgb(images['000'])), []

    async def handler(request):
        flying.append(request)
        while len(flying) < 3:
            await asyncio.sleep(0.001)
        if hash_array(request.image()) != bad:
            return Answer(then='stall')
        asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGINT)
        return Answer(401)

    server.reset(handler)
    started = time.monotonic()
    with pytest.raises((KeyboardInterrupt, InputError)):
        run(server, images, tmp_path, victim={'idempotency': True, 'concurrency': 3, 'timeout': 30}, stop_wait=0.2)
    assert time.monotonic() - started < 20
    account = Account(tmp_path)
    assert (account.spent, account.count('doubt')) == (2, 2)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_loses_nothing_that_is_on_its_way(server, tmp_path, images, number):
    billing, asked = Billing(delay=0.3, idempotent=False), []

    async def handler(request):
        asked.append(request)
        if len(asked) == 4:
            os.kill(os.getpid(), number)
        return await billing(request)

    server.reset(handler)
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        run(server, images, tmp_path, victim={'concurrency': 4})
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    account = Account(tmp_path)
    assert (len(asked), account.settled, account.spent) == (4, 4, 4)


def test_a_second_signal_ends_the_run_at_once(server, tmp_path, images):
    async def handler(request):
        if len(server.requests) == 3:
            for delay in (0.1, 0.4):
                asyncio.get_running_loop().call_later(delay, os.kill, os.getpid(), signal.SIGTERM)
        return Answer(then='stall')

    server.reset(handler)
    started = time.monotonic()
    with pytest.raises(Stopped):
        run(server, images, tmp_path, victim={'concurrency': 3, 'timeout': 60}, in_doubt='resend')
    assert time.monotonic() - started < 10
    assert (Account(tmp_path).spent, Account(tmp_path).count('doubt')) == (3, 3)


def test_a_budget_holds_against_a_service_that_bills_before_it_fails(server, tmp_path, images, capsys):
    billed = []

    def handler(request):
        billed.append(request)
        return Answer((500, 520, 524, 598, 599, 502)[len(billed) % 6])

    server.reset(handler)
    for _ in range(4):
        with contextlib.suppress(InputError):
            run(server, images, tmp_path, in_doubt='resend', budget=7)
    assert len(billed) == 7 == Account(tmp_path).spent
    assert 'unbilled' in capsys.readouterr().out


def test_a_recorded_answer_that_is_another_image_is_not_given(server, tmp_path):
    server.reset(double)
    image = photograph((8, 8))
    recorded = RecordedVictim(build_victim(http_options(server)), tmp_path / 'ledger')
    recorded.query([image])
    with Ledger(tmp_path / 'ledger') as ledger:
        file = ledger.pair(1)[1]
        save(file, photograph((16, 16), 5))
        with ledger.transaction() as db:
            db.execute('UPDATE queries SET response_bytes = ?', (file.stat().st_size,))
    with refused(file.name):
        recorded.query([image])
    assert len(server.requests) == 1


def test_a_ledger_whose_sum_is_wrong_is_refused_unchanged(server, tmp_path, images):
    server.reset(double)
    run(server, images, tmp_path)
    with Ledger(tmp_path / 'ledger') as ledger, ledger.transaction() as db:
        db.execute('UPDATE account SET spent = 5')
    file = tmp_path / 'ledger' / 'ledger.sqlite'
    before = file.read_bytes()
    with refused(file, '5', '12'):
        run(server, images, tmp_path)
    assert file.read_bytes() == before
    assert len(server.requests) == 12


# The key


def test_the_key_is_nowhere_in_the_output(server, tmp_path, images, monkeypatch, capsys):
    monkeypatch.setenv('SERVICE_KEY', 'sesame-0123456789')

    def handler(request):
        """Echoes everything: with success, with an error, and beside the image."""
        number = len(server.requests)
        if number % 3 == 0:
            return double(request)
        return Answer((200, 500)[number % 2], json.dumps(request.headers).encode())

    server.reset(handler)
    options = {'key': {'env': 'SERVICE_KEY', 'header': 'A', 'prefix': ''}, 'idempotency': True}
    with contextlib.suppress(InputError):
        run(server, images, tmp_path, victim=options, options={'victim': options})
    assert Account(tmp_path).settled > 0
    captured = capsys.readouterr()
    assert 'sesame' not in captured.out + captured.err
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if b'sesame' in path.read_bytes()]


# Victims whose answers are kept


@pytest.mark.parametrize('kind', ['http', 'local'])
def test_a_recorded_victim_is_asked_each_image_once_over_several_runs(server, tmp_path, kind):
    server.reset(double)
    log = tmp_path / 'log'
    images = [photograph((8, 8 + index % 2), index) for index in range(6)]
    for asked in (images[:4], images, [*images, images[0]]):
        victim = build_victim(http_options(server)) if kind == 'http' else SlowVictim(str(log))
        recorded = RecordedVictim(victim, tmp_path / 'ledger')
        assert (recorded.name, recorded.scale, recorded.fingerprint) == (victim.name, 2, victim.fingerprint)
        for image, answer in zip(asked, recorded.query(asked), strict=True):
            np.testing.assert_array_equal(answer, doubled(image))
    assert (len(server.requests) if kind == 'http' else len(log.read_text().split())) == 6


def test_a_recorded_victim_says_what_was_given_up(server, tmp_path):
    images = [photograph((8, 8), index) for index in range(3)]
    bad = hash_array(images[1])
    server.reset(lambda request: Answer(then='reset') if hash_array(request.image()) == bad else double(request))
    for _ in range(2):
        recorded = RecordedVictim(build_victim(http_options(server)), tmp_path / 'ledger')
        with refused(tmp_path / 'ledger', '1', '3', do='in_doubt: resend'):
            recorded.query(images)
    assert len(server.requests) == 3
    np.testing.assert_array_equal(recorded.query(images[::2])[1], doubled(images[2]))


@pytest.mark.parametrize('in_doubt', ['resend', 'abandon'])
def test_whole_replies_that_are_no_answers_are_not_paid_for_again(server, tmp_path, images, in_doubt):
    async def palette(request):
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((8, 8), np.uint8)).convert('P').save(buffer, 'PNG')
        return Answer(body=buffer.getvalue())

    server.reset(palette)
    with refused('victim', 'palette'):
        run(server, images, tmp_path, victim={'concurrency': 1}, in_doubt=in_doubt, budget=len(images))
    assert len(server.requests) == 3 == Account(tmp_path).spent
