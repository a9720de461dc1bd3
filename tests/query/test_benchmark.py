"""The benchmarks of query runs and of the service run, and give the numbers that the README quotes."""

import pytest

pytest.importorskip('mea_plugin.basicsr')


@pytest.mark.slow
def test_query_runs(monkeypatch):
    from mea_plugin.benchmarks import query

    text, rows = query.run(quick=True)
    by_name = {row['name']: row for row in rows}
    assert set(by_name) == {'embedded', 'MSRResNet', 'resume', 'memory'}
    assert all(by_name[name]['of forward loop'] > 0 for name in ('embedded', 'MSRResNet'))
    assert by_name['resume']['first query'] < by_name['resume']['all'] < 60
    assert text.count('###') == 4


@pytest.mark.slow
def test_the_service():
    from mea_plugin.benchmarks import serve

    text, rows = serve.run(quick=True)
    assert [row['name'] for row in rows] == ['embedded', 'MSRResNet']
    assert all(row['of load generator'] > 0 for row in rows)
    assert text.count('load generator |') == 4
