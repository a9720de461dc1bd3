"""Shared room: a crowd does not keep others out, and the sum stays bounded."""

import asyncio
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mea_plugin.serving.places import Brake, Room, address_owner


def test_a_crowd_fills_the_room_and_others_still_come_in():
    room = Room(8)
    assert sum(room.take('crowd') for _ in range(100)) == 8
    assert sum(room.take('other') for _ in range(100)) == 4  # half of it
    assert not room.take('crowd')
    assert sum(room.take('third') for _ in range(100)) == 2
    for _ in range(4):
        room.free('other')
    assert room.total == 10


def test_an_owner_s_own_limit_holds_also_when_nobody_else_is_there():
    room = Room(8, per_owner=3)
    assert [room.take('a') for _ in range(4)] == [True] * 3 + [False]
    assert room.take('b')


@given(st.lists(st.tuples(st.sampled_from('abcdefgh'), st.integers(-3, 5)), max_size=200), st.integers(1, 12))
def test_the_books_are_right_and_the_sum_is_bounded(script, size):
    room, books = Room(size), Counter()
    for owner, amount in script:
        if amount > 0:
            before = books.total()
            taken = room.take(owner, amount)
            assert taken or before + amount > size
            books[owner] += amount * taken
        elif books[owner] >= -amount > 0:
            room.free(owner, -amount)
            books[owner] += amount
        assert room.total == books.total() <= 2 * size


def test_who_comes_too_early_is_told_later():
    async def main():
        brake, times = Brake(), []
        for owner in ('a', 'a', 'b'):
            start = time.monotonic()
            await brake.refuse(owner, 0.2)
            times.append(time.monotonic() - start)
        assert max(times[0], times[2]) < 0.19 <= times[1]
        start = time.monotonic()
        await asyncio.gather(*(brake.refuse('c', 0.2) for _ in range(300)))
        assert time.monotonic() - start < 2
        assert not brake._held

    asyncio.run(main())


@pytest.mark.parametrize(
    ('host', 'owner'),
    [
        ('192.0.2.7', 'address 192.0.2.7'),
        ('::ffff:192.0.2.7', 'address 192.0.2.7'),
        ('2001:db8:1:2:3::4', 'address 2001:db8:1:2::'),
        ('fe80::1%eth0', 'address fe80::'),
        ('', 'address ?'),
        ('x' * 5000, 'address ?'),
    ],
)
def test_whose_an_address_is(host, owner):
    assert address_owner(host) == owner
