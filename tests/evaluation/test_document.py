"""What a terminal and evaluation.md show of an evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from mea_plugin.evaluation.document import document, summary
from mea_plugin.evaluation.markup import to_markdown
from mea_plugin.evaluation.tables import all_tables
from tests.evaluation import scores


@pytest.fixture
def study():
    """Two surrogates and a baseline on four images, against the victim and against the ground truth."""
    generator = np.random.default_rng(3)
    values = {
        name: {'psnr_y': generator.normal(30, 1, 4), 'spectrum_error': generator.normal(2, 0.1, 4)}
        for name in ('bicubic', 'base', 'ours')
    }
    pairs = [('ours', 'base')]
    content = scores.evaluation(values, roles={'bicubic': 'baseline'}, pairs=pairs, missing=['lpips_alex'])
    (test_set,) = content['test_sets']
    test_set['quality'] = {name: scores.comparison(one) for name, one in values.items()}
    test_set['differences'] += scores.compare('quality', values, pairs)
    return content


def test_the_summary_has_all_tables_and_says_once_what_holds_for_several(study):
    text = summary(study)
    heads = [line for line in text.splitlines() if line.startswith('**')]
    assert [head.partition('**')[2].partition('.**')[0] for head in heads] == [one.title for one in all_tables(study)]
    assert all(head.endswith('.** 4 images, x4; 4 pixels cropped at each edge.') for head in heads)
    tables, _, legend = text.partition('\n- ')
    for one in all_tables(study):
        for sentence in one.legend:
            assert text.count(f'- {sentence}\n') == text.count(sentence) == 1
            assert sentence not in tables
    assert any('weights: put alex_100%.pth' in line for line in legend.splitlines())
    assert 'Fewer than 6 images of one seed decide nothing' in legend


def test_what_is_special_stays_below_its_table(study):
    study['test_sets'][0]['fidelity']['ours']['undefined']['psnr_y'] = 1
    fidelity, _, rest = summary(study).partition('**Set5, task quality')
    assert fidelity.endswith('|\n\nours, Y-PSNR: not defined on 1 of 4 images.\n\n')
    assert 'not defined' not in rest


def test_no_line_of_a_table_is_wider_than_a_terminal(study):
    names = [f'metric {index}' for index in range(9)]
    protocol = study['protocol']['metrics']
    protocol |= {name: {**protocol['psnr_y'], 'title': name} for name in names}
    for one in study['test_sets'][0]['fidelity'].values():
        one['mean'] |= dict.fromkeys(names, 30.0)
        one['interval'] |= {name: [29.0, 31.0] for name in names}
    lines = [line for line in summary(study).splitlines() if line.startswith('|')]
    assert max(map(len, lines)) <= 120
    assert max(len(line) for one in all_tables(study) for line in to_markdown(one).splitlines()) > 120
    assert all(any(f' {name} (dB) ↑ ' in line for line in lines) for name in names)


def test_the_document_has_the_summary_metrics_models_and_images(study):
    text = document(study, 'side by side.png')
    assert text.startswith(f'# study\n\n{summary(study)}\n![answers side by side](side by side.png)\n')
    assert '- Y-PSNR (dB, higher is better): psnr_y as it is.\n' in text
    assert '- LPIPS (AlexNet) (lower is better): lpips_alex as it is.\n' in text
    assert '- bicubic (baseline): bicubic, fingerprint 0\n' in text
    images = text.partition('## Per image')[2]
    assert len([line for line in images.splitlines() if line.startswith('| image ') and line[8].isdigit()]) == 2 * 12
    assert images.count('inf: the image equals its reference') == 1


def test_without_images_there_is_no_section_of_them(study):
    for kind in ('fidelity', 'quality'):
        for one in study['test_sets'][0][kind].values():
            one['images'] = {}
    assert 'Per image' not in document(study, 'x.png')
