"""Both ends of the wire: query runs against the service itself, in every form it takes, and both books at the end."""

from __future__ import annotations

import contextlib
import threading
import time

import httpx
import numpy as np
import pytest
import uvicorn

from mea_plugin.core.images import read_rgb
from mea_plugin.query import run_queries
from mea_plugin.query.engine import ledger_folder
from mea_plugin.query.ledger import Ledger
from mea_plugin.serving.app import create_app
from mea_plugin.victims import build_victim
from tests.helpers import photograph, save
from tests.serving.stub import Doubler, new_key, options

FORMS = {
    'multipart': {'request': {'body': 'multipart'}},
    'raw': {'request': {'body': 'raw'}},
    'raw jpeg': {'request': {'body': 'raw', 'format': 'jpeg', 'quality': 100}},
    'json': {'request': {'body': 'json'}},
    'json both ways': {
        'request': {'body': 'json', 'headers': {'Accept': 'application/json'}},
        'response': {'body': 'json', 'field': 'image'},
    },
    'jobs': {'path': '/v1/jobs', 'jobs': {'interval': 0.02}},
}


@contextlib.contextmanager
def served(store, **more):
    """The service on a free port, in a thread; its address."""
    app = create_app(options(store, **more), Doubler())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level='error', lifespan='on'))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f'http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}'
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture
def images(tmp_path):
    sizes = [(20, 24), (20, 24), (18, 30), (16, 16), (20, 24)]
    return {
        str(index): save(tmp_path / 'images' / f'{index}.png', photograph(size, index))
        for index, size in enumerate(sizes)
    }


def victim(address, monkeypatch, key, path='/v1/translate', **more):
    monkeypatch.setenv('TEST_KEY', key)
    return build_victim(
        {'type': 'http', 'url': address + path, 'scale': 2, 'key': {'env': 'TEST_KEY'}, 'idempotency': True, **more}
    )


def billed(address, key):
    return httpx.get(f'{address}/v1/usage', headers={'Authorization': f'Bearer {key}'}).json()['billed']


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_asking(form, images, tmp_path, monkeypatch):
    store = tmp_path / 'service' / 'store.sqlite'
    key = new_key(store, quota=5)
    with served(store) as address:
        asked = victim(address, monkeypatch, key, **FORMS[form])
        queries = run_queries(asked, images, tmp_path / 'out' / 'queries', budget=5)
        run_queries(asked, images, tmp_path / 'out' / 'queries', budget=5)
        assert billed(address, key) == 5
    for pair in queries.manifest()['pairs']:
        query, response = (read_rgb(path) for path in queries.paths(pair['id']))
        np.testing.assert_array_equal(query, read_rgb(images[pair['name']]))
        seen = response[::2, ::2].astype(int)
        assert np.abs(seen - query).max() <= (8 if form == 'raw jpeg' else 0)
    with Ledger(ledger_folder(queries.folder), create=False) as ledger:
        assert ledger.spent == 5
        assert list(ledger.rows("SELECT COUNT(*) FROM queries WHERE state = 'settled'")) == [(5,)]


def test_an_answer_as_jpeg(images, tmp_path, monkeypatch):
    store = tmp_path / 'service' / 'store.sqlite'
    key = new_key(store)
    with served(store, output={'format': 'jpeg', 'quality': 95}) as address:
        queries = run_queries(
            victim(address, monkeypatch, key, response={'formats': ['jpeg']}), images, tmp_path / 'out' / 'queries'
        )
    for pair in queries.manifest()['pairs']:
        query, response = (read_rgb(path).astype(int) for path in queries.paths(pair['id']))
        assert 0 < np.abs(response[::2, ::2] - query).mean() < 8
    with Ledger(ledger_folder(queries.folder), create=False) as ledger:
        assert {note for (note,) in ledger.rows('SELECT note FROM attempts')} == {'came as jpeg'}


def test_a_service_that_is_too_fast_for_its_rate_limit_is_waited_for(images, tmp_path, monkeypatch):
    store = tmp_path / 'service' / 'store.sqlite'
    key = new_key(store, rate=4.0)
    with served(store) as address:
        asked = victim(address, monkeypatch, key, concurrency=5, retry={'first': 0.01})
        run_queries(asked, images, tmp_path / 'out' / 'queries')
        assert billed(address, key) == 5
    with Ledger(ledger_folder(tmp_path / 'out' / 'queries'), create=False) as ledger:
        assert ledger.spent == 5
        assert list(ledger.rows("SELECT COUNT(*) > 0 FROM attempts WHERE outcome = 'refused'")) == [(1,)]
