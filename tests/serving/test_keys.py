"""Keys, rates and quotas in the store."""

import sqlite3

import pytest

from mea_plugin.serving import billing, keys
from mea_plugin.serving.database import open_store
from mea_plugin.serving.rates import Rates
from tests.helpers import refused


@pytest.fixture
def store(tmp_path):
    connection = open_store(tmp_path / 's.sqlite')
    yield connection
    connection.close()


def test_a_key_is_found_and_its_text_is_nowhere_in_the_store(store, tmp_path):
    key = keys.create_key(store, 'me', quota=3, rate=2.5)
    found = keys.find_customer(store, key, False)
    assert (found.name, found.quota, found.rate, found.billed) == ('me', 3, 2.5, 0)
    assert len(key) > 43
    store.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    content = b''.join(path.read_bytes() for path in tmp_path.iterdir())
    assert b'me' in content
    assert key.encode() not in content
    assert key.removeprefix('mea_').encode() not in content


def test_wrong_keys_are_nobody_s(store):
    key = keys.create_key(store, 'me')
    for wrong in (key[:-1], key + 'x', key.upper(), '', 'me', '\udcff', None):
        assert keys.find_customer(store, wrong, False) is None
    assert keys.create_key(store, 'you') != key


def test_a_revoked_key_is_refused_and_its_bills_stay(store):
    key = keys.create_key(store, 'me')
    customer = keys.find_customer(store, key, False)
    billing.bill(store, customer.id)
    keys.revoke_key(store, 'me')
    assert keys.find_customer(store, key, False) is None
    (listed,) = keys.list_keys(store)
    assert listed.billed == 1
    assert listed.revoked
    with refused('--revoke-key', "'me'", do='--list-keys'):
        keys.revoke_key(store, 'me')
    with refused('--create-key', "'me'"):
        keys.create_key(store, 'me')


@pytest.mark.parametrize(
    ('name', 'limits', 'where', 'quoted'),
    [
        ('me', {'quota': 0}, '--quota', '0'), ('me', {'rate': 0.0}, '--rate', '0.0'),
        ('me', {'rate': float('nan')}, '--rate', 'nan'), (' ', {}, '--create-key', "' '"),
        ('a\nb', {}, '--create-key', 'a\nb'), ('anonymous', {}, '--create-key', "'anonymous'"),
    ],
)  # fmt: skip
def test_impossible_keys_are_refused(store, name, limits, where, quoted):
    with refused(where, quoted):
        keys.create_key(store, name, **limits)
    assert keys.list_keys(store) == []


def test_an_unknown_name_names_the_nearest(store):
    keys.create_key(store, 'customer-1')
    with refused('--revoke-key', "'custmer-1'", do="'customer-1'"):
        keys.revoke_key(store, 'custmer-1')


def test_only_an_open_service_has_an_anonymous_customer(store):
    keys.ensure_anonymous(store)
    keys.ensure_anonymous(store)
    assert keys.find_customer(store, None, True).name == 'anonymous'
    assert keys.find_customer(store, None, False) is None
    assert keys.find_customer(store, 'wrong', True) is None


def admitted(store, key, times):
    gate = keys.Gate(Rates(), is_open=False)
    excesses = [gate.admit(store, key, '', time)[1] for time in times]
    return [0 if excess is None else excess.wait_s for excess in excesses]


def test_a_rate_lets_a_second_s_worth_through_at_once_and_then_its_share(store):
    key = keys.create_key(store, 'me', rate=2)
    now = store.execute('SELECT created FROM keys').fetchone()[0]
    assert admitted(store, key, [now, now, now]) == pytest.approx([0, 0, 0.5])
    assert admitted(store, key, [now + 0.25, now + 0.5, now + 0.5]) == pytest.approx([0.25, 0, 0.5])
    assert admitted(store, key, [now + 1000] * 3) == pytest.approx([0, 0, 0.5])


def test_a_rate_below_one_lets_one_through(store):
    key = keys.create_key(store, 'me', rate=0.1)
    now = store.execute('SELECT created FROM keys').fetchone()[0]
    assert admitted(store, key, [now, now, now + 9.99, now + 10]) == pytest.approx([0, 10, 0.01, 0])


def test_a_clock_that_is_set_back_fills_no_bucket_and_empties_none(store):
    key = keys.create_key(store, 'me', rate=1)
    now = store.execute('SELECT created FROM keys').fetchone()[0]
    assert admitted(store, key, [now, now - 3600, now - 3600 + 1]) == pytest.approx([0, 1, 0])


def test_a_bucket_survives_the_process(store, tmp_path):
    key = keys.create_key(store, 'me', rate=0.001)
    now = store.execute('SELECT created FROM keys').fetchone()[0]
    admitted(store, key, [now])
    other = open_store(tmp_path / 's.sqlite')
    assert admitted(other, key, [now]) == pytest.approx([1000])
    other.close()


def test_reservations_count_against_the_quota(store):
    keys.create_key(store, 'me', quota=2)
    billing.reserve(store, 1)
    billing.reserve(store, 1)
    with pytest.raises(billing.QuotaError):
        billing.reserve(store, 1)
    billing.release(store, 1)
    billing.reserve(store, 1)
    billing.bill(store, 1)
    with pytest.raises(billing.QuotaError):
        billing.begin(store, 1, None, b'x', 0)
    billing.bill(store, 1)
    assert store.execute('SELECT billed, reserved FROM keys').fetchone() == (2, 0)


def test_a_bill_and_its_reply_are_stored_together(store):
    keys.create_key(store, 'me')
    store.execute("CREATE TRIGGER full BEFORE INSERT ON replies BEGIN SELECT raise(ABORT, 'disk full'); END")
    store.execute('BEGIN')
    with pytest.raises(sqlite3.IntegrityError):
        billing.settle(store, 1, 'k', b'x', billing.Reply('png', b'image'), 10)
    store.execute('ROLLBACK')
    assert store.execute('SELECT billed FROM keys').fetchone() == (0,)


def test_a_reply_is_kept_until_it_expires(store):
    keys.create_key(store, 'me')
    reply = billing.Reply('png', b'image')
    billing.settle(store, 1, 'k', b'x', reply, expires=10)
    assert billing.begin(store, 1, 'k', b'x', now=9) == reply
    with pytest.raises(billing.ConflictError):
        billing.begin(store, 1, 'k', b'y', now=9)
    assert billing.begin(store, 1, 'k', b'y', now=11) is None
    billing.settle(store, 1, 'k', b'y', reply, expires=30)
    billing.purge(store, 20)
    assert billing.begin(store, 1, 'k', b'y', now=21) == reply
    billing.purge(store, 30)
    assert store.execute('SELECT count(*) FROM replies').fetchone() == (0,)
