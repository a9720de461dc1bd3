"""A browser to look at reports with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.results import BROWSER, wait_until


@pytest.fixture(scope='module')
def chromium() -> Iterator[Any]:
    """Debian's Chromium. Of a module, not a session: while it runs, nothing else in the process can use asyncio."""
    executable = shutil.which('chromium')
    if executable is None:
        pytest.skip('Chromium is not installed; `make chromium` does that')
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    arguments = ['--enable-precise-memory-info', *(['--no-sandbox'] if os.geteuid() == 0 else [])]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a report from disk; at the end, nothing may have complained and nothing may have been asked for."""
    contexts, complaints = [], []

    def open_it(path: Path, *, settled: bool = True, **options: Any) -> Any:
        context = chromium.new_context(**{'viewport': {'width': 1200, 'height': 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on('console', lambda message: complaints.append(f'{message.type}: {message.text}'))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        address = path.as_uri()
        page.on('request', lambda one: None if one.url == address else complaints.append(one.url))
        page.goto(address)
        if settled:
            wait_until(page, f'{BROWSER}.dataset.settled')
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []
