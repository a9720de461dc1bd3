"""Turns by work: against a model written from the paper's definition, and the bound that it proves."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.serving.fairness import FairQueue

ALONE = {'alike': lambda first, other: False, 'fits': lambda items: True}


class Model:
    """Start-time fair queueing, one dictionary per quantity, nothing forgotten."""

    def __init__(self):
        self.now, self.tags, self.last, self.numbers = 0.0, {}, {}, itertools.count()

    def put(self, flow, item, cost):
        start = max(self.now, self.last.get(flow, 0.0))
        self.last[flow] = start + cost
        self.tags[item] = (start, cost, next(self.numbers))

    def take(self):
        if not self.tags:
            self.last = dict.fromkeys(self.last, 0.0)
            return None
        item = min(self.tags, key=self.tags.__getitem__)
        self.now = max(self.now, self.tags.pop(item)[0])
        return item


steps = st.lists(st.one_of(st.none(), st.tuples(st.sampled_from('abc'), st.integers(1, 50))), max_size=60)


@given(steps)
def test_the_order_is_that_of_the_model(script):
    queue, model = FairQueue(), Model()
    for number, step in enumerate([*script, *[None] * len(script)]):
        if step is not None:
            flow, cost = step
            queue.put(flow, number, cost)
            model.put(flow, number, cost)
            continue
        taken = queue.take(**ALONE)
        if not taken:
            queue.rest()
        assert (taken[0] if taken else None) == model.take()
    assert len(queue) == 0


@settings(max_examples=50)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_the_work_of_two_who_wait_differs_by_one_entry_of_each(left, right):
    queue = FairQueue()
    for flow, costs in (('left', left), ('right', right)):
        for cost in costs:
            queue.put(flow, (flow, cost), cost)
    bound = max(left) + max(right)
    done, waiting = {'left': 0, 'right': 0}, {'left': len(left), 'right': len(right)}
    while min(waiting.values()):
        ((flow, cost),) = queue.take(**ALONE)
        done[flow] += cost
        waiting[flow] -= 1
        if min(waiting.values()):
            assert abs(done['left'] - done['right']) <= bound


def test_one_entry_does_not_wait_behind_a_crowd():
    queue = FairQueue()
    for number in range(100):
        queue.put('crowd', number, 1000)
    assert queue.take(**ALONE) == [0]
    queue.put('other', 'x', 10)
    assert [queue.take(**ALONE) for _ in range(2)] == [['x'], [1]]


def test_items_that_are_alike_go_together_as_far_as_they_fit():
    queue = FairQueue()
    for flow, item in zip('aabc', (5, 7, 5, 5), strict=True):
        queue.put(flow, item, item)
    rules = {'alike': lambda first, other: first == other, 'fits': lambda items: len(items) <= 2}
    assert queue.peek(**rules) == [5, 5]
    assert len(queue) == 4
    assert [queue.take(**rules) for _ in range(4)] == [[5, 5], [5], [7], []]
