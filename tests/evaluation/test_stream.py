"""Order, how many at a time, and what becomes of errors, whichever thread is quicker."""

from __future__ import annotations

import threading
import weakref
from typing import ClassVar

import numpy as np
import pytest

from mea_plugin.evaluation.stream import stream


@pytest.mark.parametrize('workers', [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers):
    later = threading.Event()

    def measure(item, asked):
        if item == 0:  # the first ends last, unless it is alone
            later.wait(0 if workers == 1 else 10)
        elif item == 1:
            later.set()
        return item, asked

    found = stream(range(20), read=lambda i: i * 2, ask=lambda i, r: (i, r), measure=measure, workers=workers)
    assert list(found) == [(i, (i, 2 * i)) for i in range(20)]


def test_models_are_asked_in_this_thread_in_order():
    asked = []

    def ask(item, _):
        asked.append((item, threading.get_ident()))

    list(stream(range(9), read=lambda i: i, ask=ask, measure=lambda i, _: i, workers=2))
    assert asked == [(i, threading.get_ident()) for i in range(9)]


class Payload:
    """Something that is counted as long as anybody holds it."""

    alive: ClassVar = weakref.WeakSet()

    def __init__(self):
        self.alive.add(self)


@pytest.mark.parametrize(('count', 'pixels'), [(30, 0), (120, 0), (120, 10_000_000)])
def test_memory_holds_a_few_items_however_many_there_are(count, pixels):
    most = 0

    def ask(_, read):
        nonlocal most
        most = max(most, len(Payload.alive))
        return read

    for _ in stream(
        range(count), read=lambda _: Payload(), ask=ask, measure=lambda *_: None, pixels=lambda _: pixels, workers=2
    ):
        pass
    assert most <= (10 if not pixels else 8)


def test_large_images_are_measured_one_at_a_time():
    running, most, lock = 0, 0, threading.Lock()

    def measure(*_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1

    for pixels in (7_000_000, 20_000_000):
        list(stream(range(8), read=id, ask=lambda *_: 0, measure=measure, pixels=lambda _: pixels, workers=4))  # noqa: B023
    assert most == 1


@pytest.mark.parametrize('stage', ['read', 'ask', 'measure'])
def test_an_error_ends_the_stream_and_no_thread_is_left(stage):
    before, done = threading.active_count(), []

    def fail(where):
        def step(item, *_):
            if where == stage and item == 3:
                raise ValueError(f'{where} of {item}')
            return item

        return step

    with pytest.raises(ValueError, match=f'{stage} of 3'):
        for item in stream(range(100), read=fail('read'), ask=fail('ask'), measure=fail('measure'), workers=2):
            assert item == len(done)
            done.append(item)
    assert len(done) <= 3
    assert threading.active_count() == before


def test_whoever_stops_listening_stops_the_threads():
    before = threading.active_count()
    items = stream(range(1000), read=lambda i: i, ask=lambda i, _: i, measure=lambda i, _: i, workers=3)
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before


def test_nothing_gives_nothing():
    assert list(stream([], read=np.asarray, ask=lambda i, _: i, measure=lambda i, _: i)) == []
