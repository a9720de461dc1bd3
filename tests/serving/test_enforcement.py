"""The detector in the service: slow, degraded, refused; jobs and restarts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from mea_plugin.serving.server import check_watch
from tests.helpers import photograph, refused
from tests.serving.stub import Doubler, encode, new_key, options, pixels, png, until
from tests.serving.test_app import billed, check_refusal, in_service, send

SAME = png((40, 40))


def settings(tmp_path, *response, **watch):
    return options(tmp_path / 's.sqlite', watch={'response': list(response), 'capacity': 1000, **watch})


def repeat(count, *contents):
    """Send images one after the other; the last response."""

    async def main(client):
        for number in range(count):
            response = await send(client, contents[number % len(contents)])
        return response

    return main


def test_repeats_are_slowed_down_degraded_and_refused(tmp_path):
    key = new_key(tmp_path / 's.sqlite')
    slow = settings(tmp_path, {'above': 1, 'wait_s': 60}, store=False)
    found = in_service(repeat(12, SAME), slow, Doubler(), key)
    check_refusal(found, 429, 'slowly')
    assert 1 <= int(found.headers['Retry-After']) <= 60
    degrade = settings(tmp_path, {'above': 1, 'defences': [{'type': 'levels', 'levels': 2}]}, store=False)
    assert len(np.unique(pixels(in_service(repeat(9, SAME), degrade, Doubler(), key).content))) > 2
    assert set(np.unique(pixels(in_service(repeat(10, SAME), degrade, Doubler(), key).content))) <= {0, 255}
    before = billed(tmp_path / 's.sqlite')
    refuse = settings(tmp_path, {'above': 1, 'refuse': True}, store=False)
    check_refusal(in_service(repeat(10, SAME), refuse, Doubler(), key), 403, 'ordinary use')
    assert billed(tmp_path / 's.sqlite') == before + 9


def test_other_images_and_other_customers_are_answered(tmp_path):
    one, other = (new_key(tmp_path / 's.sqlite', name) for name in ('one', 'other'))
    refuse = settings(tmp_path, {'above': 1, 'refuse': True}, store=False)

    async def main(client):
        for _ in range(12):
            await send(client, SAME)
        return await send(client, SAME, Authorization=f'Bearer {other}')

    assert in_service(main, refuse, Doubler(), one).status_code == 200
    images = [encode(photograph((40, 40), seed)) for seed in range(12)]
    assert in_service(repeat(12, *images), refuse, Doubler(), one).status_code == 200


def test_the_memory_outlives_a_restart(tmp_path):
    key = new_key(tmp_path / 's.sqlite')
    refuse = settings(tmp_path, {'above': 1, 'refuse': True})
    images = [encode(photograph((40, 40), seed)) for seed in range(10)]
    assert in_service(repeat(9, *images), refuse, Doubler(), key).status_code == 200
    assert (tmp_path / 'queries.npz').is_file()
    check_refusal(in_service(repeat(10, *images[:9]), refuse, Doubler(), key), 403, 'ordinary use')


def test_a_refused_job_says_so(tmp_path):
    key = new_key(tmp_path / 's.sqlite')
    refuse = settings(tmp_path, {'above': 1, 'refuse': True}, store=False)

    async def main(client):
        for _ in range(9):
            await send(client, SAME)
        job = (await send(client, SAME, '/v1/jobs')).json()

        async def failed():
            status = (await client.get(job['url'])).json()
            return status if status['status'] not in ('queued', 'running') else None

        return await until(failed)

    found = in_service(main, refuse, Doubler(), key)
    assert found['status'] == 'failed'
    assert 'ordinary use' in found['error']


def test_what_was_done_is_counted(tmp_path):
    key = new_key(tmp_path / 's.sqlite')

    async def main(client):
        for _ in range(10):
            await send(client, SAME)
        return (await client.get('/metrics')).text

    slow = settings(tmp_path, {'above': 1, 'wait_s': 0.001}, store=False)
    text = in_service(main, slow, Doubler(), key)
    assert 'mea_watched_total{action="answer"} 9.0' in text
    assert 'mea_watched_total{action="slow"} 1.0' in text


def test_a_corrupt_store_by_option(tmp_path):
    (tmp_path / 'queries.npz').write_bytes(b'broken')
    key = new_key(tmp_path / 's.sqlite')
    with refused('queries.npz', do='on_corrupt: empty'):
        in_service(repeat(1, SAME), settings(tmp_path), Doubler(), key)
    assert in_service(repeat(1, SAME), settings(tmp_path, on_corrupt='empty'), Doubler(), key).status_code == 200


@pytest.mark.parametrize(
    ('watch', 'where', 'quoted'),
    [
        ({'calibration': 'no_such.json'}, 'no_such.json', ''),
        (
            {'response': [{'above': 1, 'defences': [{'type': 'jpeg', 'quality': 0}]}]},
            'x.yml: watch.response[0].defences[0].quality',
            '0',
        ),
    ],
)
def test_what_is_refused(tmp_path, watch, where, quoted):
    with refused(where, quoted):
        check_watch(options(tmp_path / 's.sqlite', watch=watch), 'x.yml')


def test_answers_are_json_as_before(tmp_path):
    """A watch changes nothing for who is not suspicious."""
    key = new_key(tmp_path / 's.sqlite')

    async def main(client):
        return await client.get('/v1/usage')

    assert json.loads(in_service(main, settings(tmp_path), Doubler(), key).text)['billed'] == 0


def test_a_service_needs_opencv_for_its_watch_alone():
    code = """
import sys
sys.modules['cv2'] = None
from mea_plugin.core.errors import InputError
from mea_plugin.serving.app import create_app
from mea_plugin.serving.options import ServeOptions
from mea_plugin.serving.server import check_watch
options = {'name': 'x', 'victim': {'type': 'embedded'}}
check_watch(ServeOptions.parse_document(options, 'serve.yml'), 'serve.yml')
try:
    check_watch(ServeOptions.parse_document({**options, 'watch': {}}, 'serve.yml'), 'serve.yml')
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == (
        'serve.yml: watch: watch needs cv2, which is not installed. Type: pip install opencv-python-headless.\n'
    )
