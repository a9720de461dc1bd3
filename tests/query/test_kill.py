"""``kill -9``, Ctrl-C and SIGTERM at any moment of a run: nothing is lost, and nothing is paid for twice."""

import random
import signal
import time
from collections import Counter

import pytest

from mea_plugin.core.files import hash_array
from mea_plugin.core.images import read_rgb
from tests.query.http_runs import Account, check_all_answered_once, http_options, make_images, start, wait_until
from tests.victims.http.service import Billing

KILLS = 20
COUNT = 100
DELAY = 0.05


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / 'images', COUNT)


def killed_again_and_again(progress, *, seed, **options):
    """Kill a run at random moments, then let it end; returns how many were killed in the middle of it, and the output.

    Args:
        progress: How much has been done so far.
        seed: Of the moments: after one to three steps of progress, and a random part of a step.
        options: Of the run.
    """
    rng, killed, said = random.Random(seed), 0, ''
    for _ in range(KILLS):
        process, goal = start(**options), progress() + rng.randint(1, 3)
        if wait_until(lambda goal=goal: progress() >= goal, process):
            time.sleep(rng.uniform(0, DELAY))
        killed += process.poll() is None
        process.kill()
        said += ''.join(process.communicate(timeout=60))
    process = start(**options)
    last = ''.join(process.communicate(timeout=120))
    assert process.returncode == 0, last
    assert 'Traceback' not in said + last
    return killed, said + last


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9_with_a_service_that_honours_keys(server, tmp_path, images):
    billing = Billing(delay=DELAY)
    server.reset(billing)
    killed, said = killed_again_and_again(
        lambda: len(server.requests),
        seed=1,
        victim=http_options(server, idempotency=True, concurrency=4),
        images=tmp_path / 'images',
        output=tmp_path,
    )
    assert killed >= 15
    check_all_answered_once(tmp_path, images, billing)
    assert len(server.requests) > COUNT  # some were sent again, and each was said
    assert 'in doubt: each is sent again under the same key' in said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9_with_one_that_does_not_and_abandon(server, tmp_path, images):
    billing = Billing(delay=DELAY, idempotent=False)
    server.reset(billing)
    killed, said = killed_again_and_again(
        lambda: len(server.requests),
        seed=2,
        victim=http_options(server, concurrency=4),
        images=tmp_path / 'images',
        output=tmp_path,
        in_doubt='abandon',
    )
    assert killed >= 15
    account = Account(tmp_path)
    assert max(billing.asked.values()) == max(billing.billed.values()) == 1
    assert account.spent == COUNT == account.settled + account.count('given up')
    assert account.settled <= sum(billing.billed.values()) <= account.spent
    assert account.count('given up') > 0
    assert 'in doubt: each is given up' in said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9_with_a_victim_here(tmp_path, images):
    log = tmp_path / 'log'
    log.touch()

    def asked():
        return Counter(log.read_text().split())

    killed, said = killed_again_and_again(
        lambda: sum(asked().values()),
        seed=3,
        victim={'local': str(log)},
        images=tmp_path / 'images',
        output=tmp_path,
        batch_size=2,
    )
    assert killed >= 15
    account = Account(tmp_path)
    assert account.spent == account.settled == COUNT
    assert set(asked()) == {hash_array(read_rgb(path)) for path in images.values()}
    assert sum(asked().values()) <= COUNT + killed * 2 * 4  # what may be on its way at once: a few batches
    assert 'in doubt' not in said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize('honours_keys', [True, False])
def test_a_signal_loses_nothing_that_was_paid_for(server, tmp_path, images, number, honours_keys):
    billing = Billing(delay=DELAY, idempotent=honours_keys)
    server.reset(billing)
    victim = http_options(server, idempotency=honours_keys, concurrency=8)
    options = {'victim': victim, 'images': tmp_path / 'images', 'output': tmp_path}
    process = start(**options)
    assert wait_until(lambda: len(server.requests) >= 10, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert 'Traceback' not in err
    assert f'{number.name}: nothing more is asked' in err
    assert 'interrupted; run the same command again to go on' in err
    account = Account(tmp_path)
    assert account.settled == account.spent == billing.billed.total() == len(server.requests) < COUNT
    process = start(**options)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    check_all_answered_once(tmp_path, images, billing)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_a_local_run_keeps_what_was_computed(tmp_path, images, number):
    log = tmp_path / 'log'
    log.touch()
    options = {'victim': {'local': str(log)}, 'images': tmp_path / 'images', 'output': tmp_path, 'batch_size': 4}
    process = start(**options)
    assert wait_until(lambda: len(log.read_text().split()) >= 15, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert f'{number.name}: nothing more is asked' in err
    assert Account(tmp_path).settled == len(log.read_text().split()) < COUNT
    assert start(**options).wait(60) == 0
    assert Counter(Counter(log.read_text().split()).values()) == {1: COUNT}


def test_a_killed_local_run_asks_for_each_image_at_most_once_more(tmp_path, images):
    log = tmp_path / 'log'
    log.touch()
    options = {'victim': {'local': str(log)}, 'images': tmp_path / 'images', 'output': tmp_path, 'batch_size': 4}
    process = start(**options)
    assert wait_until(lambda: len(log.read_text().split()) >= 15, process)
    process.kill()
    process.communicate()
    process = start(**options)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    asked = Counter(log.read_text().split())
    assert len(asked) == COUNT
    assert max(asked.values()) <= 2
    assert Account(tmp_path).spent == COUNT
