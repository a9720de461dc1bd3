"""Dynamic batching: one size per call, the oldest first, and errors that stay in their batch."""

import threading

import numpy as np
import pytest

from mea_plugin.serving.batching import Batcher


class Slow:
    """Waits at its first call, so that a queue builds up behind it."""

    def __init__(self):
        self.calls = []
        self.started = threading.Event()
        self.go = threading.Event()

    def __call__(self, images):
        self.calls.append([image.shape[:2] for image in images])
        self.started.set()
        assert self.go.wait(30)
        if any(image.max() == 255 for image in images):
            raise RuntimeError('too bright')
        return [image + 1 for image in images]


def image(height, value=0):
    return np.full((height, 4, 3), value, np.uint8)


@pytest.fixture
def slow():
    return Slow()


def queue_up(slow, images, size):
    """Submit while the thread is busy with an image of its own; returns the futures of the rest."""
    batcher = Batcher(slow, size=size, wait_s=0)
    first = batcher.submit(image(1))
    assert slow.started.wait(30)
    futures = [batcher.submit(one) for one in images]
    assert batcher.depth == len(images)
    slow.go.set()
    first.result(30)
    return batcher, futures


def test_waiting_images_of_one_size_go_together_the_oldest_first(slow):
    heights = [5, 6, 5, 7, 6, 5, 5]
    batcher, futures = queue_up(slow, [image(height, index) for index, height in enumerate(heights)], size=3)
    for index, (future, height) in enumerate(zip(futures, heights, strict=True)):
        np.testing.assert_array_equal(future.result(30), image(height, index + 1))
    assert slow.calls[1:] == [[(5, 4)] * 3, [(6, 4)] * 2, [(7, 4)], [(5, 4)]]
    assert batcher.depth == 0
    batcher.close()


def test_an_error_fails_its_batch_only(slow):
    batcher, futures = queue_up(slow, [image(5), image(5, 255), image(6)], size=4)
    for future in futures[:2]:
        with pytest.raises(RuntimeError, match='too bright'):
            future.result(30)
    assert futures[2].result(30).max() == 1
    batcher.close()


def test_an_answer_too_few_is_an_error():
    batcher = Batcher(lambda images: [], size=4, wait_s=0)
    with pytest.raises(ValueError, match='0.*1'):
        batcher.submit(image(3)).result(30)
    batcher.close()


def test_the_first_waits_for_others_but_a_full_batch_does_not_wait():
    calls = []

    def query(images):
        calls.append(len(images))
        return images

    batcher = Batcher(query, size=2, wait_s=3600)
    futures = [batcher.submit(image(3)) for _ in range(4)]
    for future in futures:
        future.result(30)
    assert calls == [2, 2]
    last = batcher.submit(image(3))
    batcher.close()  # answers what waits
    assert last.result(0).shape == (3, 4, 3)
    assert calls == [2, 2, 1]


def test_what_was_cancelled_is_not_asked(slow):
    batcher, futures = None, None
    batcher = Batcher(slow, size=4, wait_s=0)
    first = batcher.submit(image(1))
    assert slow.started.wait(30)
    futures = [batcher.submit(image(5)) for _ in range(2)]
    assert futures[0].cancel()
    slow.go.set()
    first.result(30)
    futures[1].result(30)
    assert slow.calls[1:] == [[(5, 4)]]
    batcher.close()


def test_a_closed_batcher_takes_nothing():
    batcher = Batcher(lambda images: images, size=1, wait_s=0)
    batcher.close()
    with pytest.raises(RuntimeError, match='closed'):
        batcher.submit(image(3))
