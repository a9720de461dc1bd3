"""Which connection is closed for a new one."""

import resource

import pytest

from mea_plugin.serving.connections import Connections, State, allowed_connections
from tests.helpers import refused


class Line:
    def __init__(self, address, state=State.IDLE):
        self.address, self.state, self.open = address, state, True

    def close(self):
        self.open = False


def add(connections, *lines):
    return [connections.add(line) for line in lines]


def test_the_one_that_is_idle_for_longest_goes_first():
    connections = Connections(10, 3)
    busy, first, second = Line('a', State.BUSY), Line('a'), Line('a')
    assert add(connections, busy, first, second) == [True] * 3
    connections.touch(first)
    assert add(connections, Line('a')) == [True]
    assert (busy.open, first.open, second.open) == (True, True, False)
    assert len(connections) == 3


def test_an_idle_one_goes_before_one_whose_request_is_arriving_and_no_busy_one_goes():
    connections = Connections(10, 2)
    arriving, idle = Line('a', State.ARRIVING), Line('a')
    add(connections, arriving, idle, Line('a', State.BUSY))
    assert (arriving.open, idle.open) == (True, False)
    add(connections, Line('a', State.BUSY))
    assert not arriving.open
    assert add(connections, Line('a')) == [False]
    assert add(connections, Line('b')) == [True]


def test_when_all_are_full_the_address_with_most_loses_one():
    connections = Connections(5, 100)
    crowd, modest = [Line('crowd') for _ in range(4)], Line('modest')
    add(connections, modest, *crowd)
    assert add(connections, Line('new')) == [True]
    assert modest.open
    assert [line.open for line in crowd] == [False, True, True, True]


def test_what_was_closed_by_its_client_is_forgotten():
    connections = Connections(1, 1)
    line = Line('a', State.BUSY)
    add(connections, line)
    assert add(connections, Line('a')) == [False]
    connections.remove(line)
    connections.remove(line)
    assert add(connections, Line('a')) == [True]


@pytest.mark.parametrize(('files', 'wished', 'allowed'), [(1024, 512, 512), (400, 512, 208), (-1, 9000, 9000)])
def test_files_are_left_for_everything_else(monkeypatch, files, wished, allowed):
    monkeypatch.setattr(resource, 'getrlimit', lambda _: (files, files))
    assert allowed_connections(wished) == allowed


def test_too_few_files_are_an_error(monkeypatch):
    monkeypatch.setattr(resource, 'getrlimit', lambda _: (64, 64))
    with refused('ulimit -n', '64', do='1024'):
        allowed_connections(512)
