"""Pixels per second: an image of any size may come, and leaves a debt."""

import pytest

from mea_plugin.serving import keys
from mea_plugin.serving.database import open_store
from mea_plugin.serving.rates import Bucket, Rates, check_pixels, spend_pixels, take_request


def test_a_large_image_leaves_a_debt_that_time_pays():
    bucket, excess = spend_pixels(Bucket(), 1000, 5000, now=100.0)
    assert excess is None
    bucket, excess = spend_pixels(bucket, 1000, 1, now=101.0)
    assert (excess.rate, excess.unit) == (1000, 'pixels')
    assert excess.wait_s == pytest.approx(3)
    assert check_pixels(bucket, 1000, 103.9) is not None
    assert check_pixels(bucket, 1000, 104.1) is None


def test_no_more_pixels_than_the_rate_over_a_long_time():
    bucket, done = Bucket(0, 0), 0
    for tick in range(1000):
        bucket, excess = spend_pixels(bucket, 500, 300, now=tick / 10)
        done += 0 if excess else 300
    assert 500 * 100 - 600 <= done <= 500 * 100 + 500 + 300


def test_requests_come_a_second_s_worth_at_once():
    bucket, outcomes = Bucket(), []
    for _ in range(3):
        bucket, excess = take_request(bucket, 2, now=50.0)
        outcomes.append(excess and excess.wait_s)
    assert outcomes == [None, None, pytest.approx(0.5)]


def test_addresses_without_a_key_have_rates_of_their_own(tmp_path):
    store = open_store(tmp_path / 's.sqlite')
    keys.ensure_anonymous(store)
    gate = keys.Gate(Rates(requests=1), is_open=True)
    excesses = [gate.admit(store, None, owner, 10.0)[1] for owner in ('x', 'x', 'y', 'y')]
    assert [excess is None for excess in excesses] == [True, False, True, False]
    store.close()


def test_a_key_s_own_rates_go_before_the_service_s(tmp_path):
    store = open_store(tmp_path / 's.sqlite')
    key = keys.create_key(store, 'me', pixel_rate=100.0)
    gate = keys.Gate(Rates(pixels=5.0), is_open=False)
    customer, excess = gate.admit(store, key, '', 10.0)
    assert excess is None
    assert gate.spend(store, customer, '', 300, 10.0) is None
    assert gate.admit(store, key, '', 11.0)[1].wait_s == pytest.approx(1)
    store.close()
