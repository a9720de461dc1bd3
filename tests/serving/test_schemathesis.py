"""Requests that schemathesis makes up from the OpenAPI page: no 5xx, nothing undocumented, a 2xx on every operation."""

import base64
import time
from collections import defaultdict

import hypothesis
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from mea_plugin.serving.app import create_app
from mea_plugin.serving.database import open_store
from tests.serving.stub import Doubler, new_key, options, png

IMAGE = png()
# What schemathesis draws hardly ever is an image; half of the bodies are replaced by one.
BODIES = {
    'multipart/form-data': {'image': IMAGE},
    'application/json': {'image': base64.b64encode(IMAGE).decode()},
}


class Explorer:
    """Sends what is drawn, checks each response against the page, and notes what came back."""

    def __init__(self, key):
        self.key = key
        self.statuses = defaultdict(set)
        self.accepted = defaultdict(set)
        self.jobs = []

    def explore(self, label, operation):
        cases = operation.as_strategy(GenerationMode.POSITIVE)
        if operation.body or operation.path_parameters:
            cases |= operation.as_strategy(GenerationMode.NEGATIVE)

        @hypothesis.settings(
            max_examples=30, derandomize=True, deadline=None, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=cases, real=st.booleans(), known=st.integers(0, 3))
        def run(case, real, known):
            self.send(label, case, real, {'Authorization': f'Bearer {self.key}'} if known else {})

        run()

    def send(self, label, case, real, headers):
        has_body = case.media_type is not None
        if real and has_body:
            case.body = BODIES.get(case.media_type, IMAGE)
        if real and 'id' in (case.path_parameters or {}):
            case.path_parameters['id'] = self.jobs[0]
        response = case.call(headers=headers)
        assert response.status_code < 500, (label, response.status_code, response.text)
        # A page cannot say which bytes are an image, nor that a body was replaced.
        excluded = [positive_data_acceptance, *([negative_data_rejection] if real else [])]
        case.validate_response(response, headers=headers, excluded_checks=excluded)
        self.statuses[label].add(response.status_code)
        if response.status_code in (200, 202) and has_body:
            self.accepted[label].add(case.media_type)
        if response.status_code == 202:
            self.jobs.append(response.json()['id'])


def wait_for_jobs(store):
    connection = open_store(store)
    deadline = time.monotonic() + 30
    while connection.execute("SELECT count(*) FROM jobs WHERE status != 'done'").fetchone()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.close()


def test_no_request_fails_and_every_operation_succeeds(tmp_path):
    store = tmp_path / 's.sqlite'
    explorer = Explorer(new_key(store))
    app = create_app(options(store, public_metrics=True, limits={'queue': 1000}), Doubler(fails_on_black=False))
    schema = schemathesis.openapi.from_asgi('/openapi.json', app)
    found = [result.ok() for result in schema.get_all_operations()]
    operations = {f'{operation.method.upper()} {operation.path}': operation for operation in found}
    assert set(operations) == {
        *('POST /v1/translate', 'POST /v1/jobs', 'GET /v1/jobs/{id}', 'GET /v1/jobs/{id}/image'),
        *('GET /v1/info', 'GET /v1/usage', 'GET /healthz', 'GET /metrics'),
    }
    senders = ['POST /v1/translate', 'POST /v1/jobs']
    for label in senders:
        explorer.explore(label, operations[label])
        assert explorer.statuses[label] >= {400, 401}
        assert explorer.accepted[label] >= set(BODIES)
    wait_for_jobs(store)
    for label in operations.keys() - set(senders):
        explorer.explore(label, operations[label])
    for label in operations:
        assert explorer.statuses[label] & {200, 202}, (label, explorer.statuses[label])
