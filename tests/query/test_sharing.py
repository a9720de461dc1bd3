"""Processes that share a ledger: one budget, no query twice, and each ends as it should."""

import multiprocessing
import os
import threading
from types import SimpleNamespace

import pytest

from mea_plugin.query import plan as plan_module
from mea_plugin.query.engine import claim
from mea_plugin.query.ledger import Ledger
from tests.helpers import refused
from tests.query.http_runs import Account, check_all_answered_once, http_options, make_images, run, start, wait_until
from tests.victims.http.service import Billing, Service


@pytest.fixture(scope='module')
def server():
    with Service() as service:
        yield service


def ends(process, code=0):
    """Wait for a process; returns what it said."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert 'Traceback' not in err
    return out + err


@pytest.mark.parametrize('idempotency', [True, False])
def test_two_processes_with_one_budget_that_does_not_suffice(server, tmp_path, idempotency):
    images = make_images(tmp_path / 'images', 30)
    billing = Billing(delay=0.02, faults=('429',), chance=0.3, idempotent=idempotency)
    server.reset(billing)
    victim = http_options(server, concurrency=3, idempotency=idempotency)
    options = {'victim': victim, 'images': tmp_path / 'images', 'output': tmp_path, 'budget': 20}
    for process in [start(**options) for _ in range(2)]:
        ends(process)
    check_all_answered_once(tmp_path, dict(sorted(images.items())[:20]), billing)


def test_two_sets_of_one_budget(server, tmp_path):
    """Each alone would be within it: together they are charged for exactly as much as it allows."""
    billing = Billing(delay=0.02)
    server.reset(billing)
    for name, seed in (('a', 0), ('b', 100)):
        made = make_images(tmp_path / 'all', 115)
        (tmp_path / name).mkdir()
        for number in range(seed, seed + 15):
            made[f'{number:03d}'].rename(tmp_path / name / f'{number:03d}.png')
    options = {'victim': http_options(server, concurrency=3), 'output': tmp_path, 'budget': 20}
    processes = [start(**options, images=tmp_path / name, set=f'queries_{name}') for name in ('a', 'b')]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert sorted(process.returncode for process in processes) in ([0, 2], [2, 2])
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0 or 'the budget of 20 is spent' in text
        assert 'Traceback' not in text
    account = Account(tmp_path)
    assert account.spent == account.settled == len(server.requests) == sum(billing.billed.values()) == 20


def test_a_process_that_comes_later_joins_in(server, tmp_path):
    images = make_images(tmp_path / 'images', 24)
    billing = Billing(delay=0.1)
    server.reset(billing)
    options = {'victim': http_options(server, concurrency=2), 'images': tmp_path / 'images', 'output': tmp_path}
    first = start(**options)
    assert wait_until(lambda: len(server.requests) >= 4, first)
    run(server, images, tmp_path, victim={'concurrency': 2})
    ends(first)
    check_all_answered_once(tmp_path, images, billing)


def test_another_process_takes_over_from_one_that_was_killed(server, tmp_path):
    images = make_images(tmp_path / 'images', 16)
    billing = Billing(delay=0.05)
    server.reset(billing)
    victim = http_options(server, concurrency=2, idempotency=True)
    options = {'victim': victim, 'images': tmp_path / 'images', 'output': tmp_path}
    first, second = start(**options), start(**options)
    assert wait_until(lambda: len(server.requests) >= 5, first)
    first.kill()
    first.communicate()
    ends(second)
    check_all_answered_once(tmp_path, images, billing)


def test_what_another_process_answers_between_two_looks_is_not_taken_for_damage(server, tmp_path, monkeypatch):
    images = make_images(tmp_path / 'images', 6)
    server.reset(Billing())
    run(server, images, tmp_path)
    monkeypatch.setattr(plan_module, '_file_sizes', lambda folder, **_: {})  # the first look came before the answers
    run(server, images, tmp_path)
    assert len(server.requests) == 6


def test_a_file_that_another_process_is_writing_may_go(tmp_path, monkeypatch):
    (tmp_path / '000000').mkdir()
    for name in ('.tmp-1', 'x_response.png'):
        (tmp_path / '000000' / name).write_bytes(b'123')
    (tmp_path / 'notes.txt').touch()
    scandir = os.scandir

    def vanishing(path):
        entries = list(scandir(path))
        (tmp_path / '000000' / '.tmp-1').unlink(missing_ok=True)
        return entries

    monkeypatch.setattr(plan_module.os, 'scandir', vanishing)
    assert plan_module._file_sizes(tmp_path, remove_temporary=True) == {'x_response.png': 3}


def test_of_two_victims_that_claim_a_ledger_one_gets_it(tmp_path):
    with Ledger(tmp_path) as one, Ledger(tmp_path) as two:
        claim(one, SimpleNamespace(name='a', scale=1, fingerprint='fa'))
        with refused(tmp_path / 'ledger.sqlite', "'a', fa", "'b', fb"):
            claim(two, SimpleNamespace(name='b', scale=1, fingerprint='fb'))
        claim(two, SimpleNamespace(name='a', scale=1, fingerprint='fa'))
        assert one.about()['name'] == 'a'


def test_the_key_is_no_part_of_whose_ledger_it_is(server, tmp_path, monkeypatch):
    """A new key goes on with the same ledger."""
    images = make_images(tmp_path / 'images', 2)
    server.reset(Billing())
    for key in ('first', 'second'):
        monkeypatch.setenv('SERVICE_KEY', key)
        run(server, images, tmp_path, victim={'key': {'env': 'SERVICE_KEY'}})
    assert len(server.requests) == 2


def test_processes_that_begin_at_once_all_get_the_ledger(tmp_path):
    """SQLite does not wait for whoever is setting a new file up."""
    with multiprocessing.get_context('fork').Pool(6) as pool:
        for index in range(15):
            assert pool.map(_open, [str(tmp_path / f'{index}')] * 6, chunksize=1) == [0] * 6


def _open(folder):
    with Ledger(folder) as ledger:
        return ledger.spent


def test_a_half_written_manifest_is_not_taken_for_a_folder_of_other_files(server, tmp_path):
    images = make_images(tmp_path / 'images', 2)
    server.reset(Billing())
    (tmp_path / 'queries').mkdir()
    (tmp_path / 'queries' / '.tmp-0123').write_text('{"form')
    run(server, images, tmp_path)
    assert len(server.requests) == 2


def test_charges_that_may_come_back_are_waited_for(server, tmp_path):
    """Another process has spent the whole budget, and is then refused."""
    images = make_images(tmp_path / 'images', 1)
    server.reset(Billing())
    with Ledger(tmp_path / 'ledger') as other:
        numbers = other.register([('elsewhere', 'other content', (1, 1))])
        (attempt,) = other.reserve(numbers.values(), budget=1, in_doubt='abandon').attempts.values()
        assert (other.spent, other.spent_for_good) == (1, 0)
        timer = threading.Timer(0.5, other.refuse, ([attempt], 'busy'))
        timer.start()
        run(server, images, tmp_path, budget=1)
        timer.join()
        assert (other.spent, other.spent_for_good) == (1, 1)
