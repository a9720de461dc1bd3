"""The benchmark of evaluations runs, and gives the ratio that the README quotes."""

import pytest

pytest.importorskip('mea_plugin.basicsr')


@pytest.mark.slow
def test_evaluations():
    from mea_plugin.benchmarks import evaluate

    text, (row,) = evaluate.run(quick=True)
    work = row['forward passes'] + row['scikit-image, one thread'] / row['cores']
    assert row['ratio'] == pytest.approx(row['evaluation'] / work)
    assert row['images'] == 1
    assert f'evaluation: {row["ratio"]:.2f} of forward passes' in text
