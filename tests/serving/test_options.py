"""The option file of a service: defaults, and what is refused."""

from pathlib import Path

import pytest

from mea_plugin.core.options import load_options
from mea_plugin.serving import ServeOptions
from tests.helpers import refused

SMALLEST = {'name': 'demo', 'victim': {'type': 'embedded'}}


def test_defaults():
    options = ServeOptions.parse_document(SMALLEST, 'x.yml')
    assert options.database == Path('results/demo/service.sqlite')
    assert (options.host, options.port, options.open, options.public_metrics) == ('127.0.0.1', 8008, False, False)
    assert (options.output.format, options.output.quality) == ('png', 95)
    assert options.idempotency_hours == 24


def test_the_demo_is_the_default(root):
    options = load_options(root / 'options' / 'serve' / 'demo.yml')
    assert ServeOptions.parse_document(options, 'x.yml') == ServeOptions.parse_document(SMALLEST, 'x.yml')


def test_an_empty_section_is_its_default():
    assert ServeOptions.parse_document({**SMALLEST, 'limits': None}, 'x.yml') == ServeOptions.parse_document(
        SMALLEST, 'x.yml'
    )


@pytest.mark.parametrize(
    ('more', 'where', 'quoted', 'do'),
    [
        ({'name': None}, 'x.yml', "'name'", 'name'),
        ({'name': '../x'}, 'x.yml: name', "'../x'", ''),
        ({'victim': {}}, 'x.yml: victim', '', ''),
        ({'prot': 1}, 'x.yml', "'prot'", "'port'"),
        ({'port': 65536}, 'x.yml: port', '65536', '65535'),
        ({'port': True}, 'x.yml: port', 'True', ''),
        ({'host': 5}, 'x.yml: host', '5', ''),
        ({'host': ''}, 'x.yml: host', '', ''),
        ({'store': ['a']}, 'x.yml: store', "['a']", ''),
        ({'output': {'format': 'jpg'}}, 'x.yml: output.format', "'jpg'", "'jpeg'"),
        ({'output': {'quality': 101}}, 'x.yml: output.quality', '101', '100'),
        ({'output': 'png'}, 'x.yml: output', "'png'", 'format, quality'),
        ({'limits': {'body_bytes': 0}}, 'x.yml: limits.body_bytes', '0', '1'),
        ({'limits': {'pixels': 1.5}}, 'x.yml: limits.pixels', '1.5', ''),
        ({'limits': {'min_side': 0}}, 'x.yml: limits.min_side', '0', '1'),
        ({'limits': {'min_side': 20, 'max_side': 10}}, 'x.yml: limits.max_side', '10', '20'),
        ({'limits': {'body': 1}}, 'x.yml: limits', "'body'", ''),
        ({'limits': {'body_timeout_s': float('nan')}}, 'x.yml: limits.body_timeout_s', 'nan', '0'),
        ({'batch': {'wait_ms': -1}}, 'x.yml: batch.wait_ms', '-1', '0'),
        ({'idempotency_hours': 0}, 'x.yml: idempotency_hours', '0', '0'),
        ({'open': 'no'}, 'x.yml: open', "'no'", 'true or false'),
        ({'watch': {'capacity': 3}}, 'x.yml: watch.capacity', '3', '100'),
        ({'watch': {'on_corrupt': 'delete'}}, 'x.yml: watch.on_corrupt', "'delete'", 'empty, refuse'),
        ({'watch': {'respons': []}}, 'x.yml: watch', "'respons'", "'response'"),
        ({'watch': {'store': True}}, 'x.yml: watch.store', 'True', ''),
        ({'watch': {'response': {'above': 1}}}, 'x.yml: watch.response', "{'above': 1}", 'list'),
        ({'watch': {'response': [{'wait_s': 1}]}}, 'x.yml: watch.response[0]', "'above'", 'above'),
        ({'watch': {'response': [{'above': 0, 'refuse': True}]}}, 'x.yml: watch.response[0].above', '0', '1000'),
        ({'watch': {'response': [{'above': 1}]}}, 'x.yml: watch.response[0]', '', 'wait_s'),
        ({'watch': {'response': [{'above': 1, 'refuse': 'yes'}]}}, 'x.yml: watch.response[0].refuse', "'yes'", ''),
        ({'watch': {'response': [{'above': 1, 'wait_s': -1}]}}, 'x.yml: watch.response[0].wait_s', '-1', '86400'),
        ({'watch': {'response': [{'above': 1, 'delay': 3}]}}, 'x.yml: watch.response[0]', "'delay'", ''),
    ],
)
def test_what_cannot_be_used_is_refused(more, where, quoted, do):
    with refused(where, quoted, do=do):
        ServeOptions.parse_document({**SMALLEST, **more}, 'x.yml')


def test_where_queries_are_remembered():
    def memory(**watch):
        return ServeOptions.parse_document({**SMALLEST, 'watch': watch}, 'x.yml').memory

    assert memory() == Path('results/demo/queries.npz')
    assert memory(store=False) is None
    assert memory(store='a.npz') == Path('a.npz')
    assert ServeOptions.parse_document(SMALLEST, 'x.yml').memory is None


def test_no_wait_for_a_batch_is_fine():
    assert ServeOptions.parse_document({**SMALLEST, 'batch': {'wait_ms': 0}}, 'x.yml').batch.wait_ms == 0
