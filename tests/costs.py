"""Mark the tests that take long by the modules that their code names: those that start processes, or train."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

PROCESSES = ('slow', 'modern_only')
MARKS = {
    'subprocess': PROCESSES,
    'multiprocessing': PROCESSES,
    'torch.multiprocessing': PROCESSES,
    'playwright.sync_api': PROCESSES,
    'mea_plugin.benchmarks': PROCESSES,
    'mea_plugin.basicsr.run.train': ('slow',),
    'mea_plugin.mmagic.run.train': ('slow',),
    'mea_plugin.mmagic.run.runner': ('slow',),
}
"""The markers of a test whose code names a module or what is in it."""


def mark(items: list[pytest.Item]) -> None:
    """Add the markers of :data:`MARKS`; what is marked ``every_environment`` does not become ``modern_only``."""
    known: dict[Any, set[str]] = {}
    for item in items:
        fixtures = [given[-1].func for given in item._fixtureinfo.name2fixturedefs.values()]
        for name in set().union(*(markers_of(one, known) for one in (item.function, *fixtures))):
            if not (name == 'modern_only' and item.get_closest_marker('every_environment')):
                item.add_marker(name)


def drop_for_speed(items: list[pytest.Item]) -> list[pytest.Item]:
    """Leave one parameter set of each test that is not slow; returns the others."""
    first: dict[str, pytest.Item] = {}
    for item in items:
        if not item.get_closest_marker('slow'):
            first.setdefault(item.nodeid.partition('[')[0], item)
    kept = set(first.values())
    dropped = [item for item in items if item not in kept]
    items[:] = first.values()
    return dropped


def markers_of(found: Any, known: dict[Any, set[str]]) -> set[str]:
    """The markers that a named object brings: a module, what comes from it, or code of the tests that names such.

    Args:
        found: The object.
        known: Answers for code of the tests that was looked at; filled here.
    """
    if isinstance(found, ModuleType | str):
        return markers_of_module(found if isinstance(found, str) else found.__name__)
    found = inspect.unwrap(found) if callable(found) else found
    module = str(getattr(found, '__module__', ''))
    if not isinstance(found, FunctionType | type) or not module.startswith('tests.'):
        return markers_of(module, known)
    if found not in known:
        known[found] = set()  # while it is looked at: functions may name each other
        known[found] = set().union(*(markers_of(one, known) for one in named_by(found)))
    return known[found]


@functools.cache
def markers_of_module(name: str) -> set[str]:
    """The markers that a module, or what is in it, brings."""
    return {marker for key, markers in MARKS.items() if f'{name}.'.startswith(f'{key}.') for marker in markers}


def named_by(found: FunctionType | type) -> Iterator[Any]:
    """The objects and modules that a function names, or a class in its methods."""
    members = vars(found).values() if isinstance(found, type) else [found]
    for function in (one for one in members if isinstance(one, FunctionType)):
        for code in codes_of(function.__code__):
            last, imported = None, ''
            for step in dis.get_instructions(code):
                name = step.argval
                if step.opname == 'LOAD_GLOBAL':
                    last = function.__globals__.get(name)
                    yield last
                elif step.opname in ('LOAD_ATTR', 'LOAD_METHOD') and isinstance(last, ModuleType):
                    last = getattr(last, name, None)
                    yield last
                elif step.opname == 'IMPORT_NAME':
                    imported = name
                    yield name
                elif step.opname == 'IMPORT_FROM':
                    yield f'{imported}.{name}'
                elif step.opname == 'LOAD_CONST' and isinstance(name, str):  # pytest.importorskip
                    yield name


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """A piece of code, and the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)
