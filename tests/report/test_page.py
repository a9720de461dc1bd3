"""The page in a real browser: opened from disk, used by mouse, touch and keyboard."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pywt

from mea_plugin.core.images import read_rgb
from mea_plugin.report.job import make_report
from mea_plugin.report.page import STOPS
from tests.report.results import make_evaluation, paint, wait_until

SETTLED = "document.querySelector('[data-part=browser]').dataset.settled"
VIEW = '(() => { const { zoom, x, y } = meaReport.browser.stage.view; return [zoom, x, y]; })()'


@pytest.fixture(scope='module')
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images, whose victim is dark and whose proposed surrogate is bright; `baseline` differs by noise."""
    folder = tmp_path_factory.mktemp('report')
    make_evaluation(folder / 'evaluation')
    paint(folder / 'evaluation', {'victim': (10, 20, 30), 'proposed': (200, 180, 160)})
    return make_report([folder / 'evaluation'], folder / 'report.html', command=['report', '--title', 'a b']).page


def part(page: Any, name: str) -> Any:
    return page.locator(f'[data-part={name}]')


def drawn(page: Any, across: float, down: float = 0.5) -> list[int]:
    """The colour that the stage shows at a point, given as fractions of its size; fully drawn first."""
    return page.evaluate(
        """async ([across, down]) => {
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            const { canvas } = meaReport.browser.stage;
            const at = Math.floor(down * canvas.height) * canvas.width + Math.floor(across * canvas.width);
            return [...meaReport.readPixels(canvas).slice(4 * at, 4 * at + 3)];
        }""",
        [across, down],
    )


def choose(page: Any, **state: str) -> None:
    """Choose sides and view, and wait until they are shown."""
    page.evaluate('(state) => meaReport.browser.change(state)', state)


def settle(page: Any, image: str) -> None:
    wait_until(page, f'{SETTLED} === {json.dumps(image)}')


def test_it_opens_from_disk_and_shows_the_tables(report: Path, open_page: Any):
    page = open_page(report)
    assert page.title() == 'study'
    assert page.locator('#results table').count() == 3, 'fidelity, differences of it, quality'
    assert page.get_by_role('cell', name='better', exact=True).count() == 1
    assert part(page, 'browser').is_visible()
    assert page.locator('#images').inner_text().count('3 of 3 images are in this page') == 1


def test_nothing_in_it_is_loaded_from_elsewhere(report: Path):
    text = report.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith('default-src &#39;none&#39;; script-src &#39;sha256-')
    assert set(re.findall(r'\b(?:src|href)="([^"#]*)', text)) == {'', 'data:,'}


def test_a_script_that_is_not_the_pages_does_not_run(report: Path, chromium: Any, tmp_path: Path):
    changed = tmp_path / 'changed.html'
    changed.write_text(
        report.read_text().replace('</main>', '<script>hacked = 1</script><img src=x onerror="hacked=1">')
    )
    page = chromium.new_page()
    page.goto(changed.as_uri())
    assert page.evaluate('typeof hacked') == 'undefined'
    page.close()


def test_the_divider_moves_by_mouse(report: Path, open_page: Any):
    page = open_page(report)
    choose(page, left='model:victim', right='model:proposed')
    assert drawn(page, 0.45) == [10, 20, 30]
    assert drawn(page, 0.55) == [200, 180, 160]
    part(page, 'stage').scroll_into_view_if_needed()
    box = part(page, 'stage').bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 3
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(box['x'] + box['width'] * 0.7, y, steps=3)
    page.mouse.up()
    assert page.get_by_role('slider').get_attribute('aria-valuenow') == '70'
    assert drawn(page, 0.65) == [10, 20, 30]
    assert drawn(page, 0.75) == [200, 180, 160]
    page.mouse.move(x, y)
    assert page.get_by_role('slider').get_attribute('aria-valuenow') == '70'


def test_the_divider_moves_by_keys(report: Path, open_page: Any):
    page = open_page(report)
    handle = page.get_by_role('slider')
    handle.focus()
    assert handle.evaluate('(one) => one.matches(":focus-visible")')
    for key, value in [('ArrowRight', '52'), ('ArrowLeft', '50'), ('PageUp', '60'), ('Home', '0'), ('End', '100')]:
        page.keyboard.press(key)
        assert handle.get_attribute('aria-valuenow') == value
    assert page.evaluate(SETTLED) == 'img_000', 'the arrows moved the divider and not the image'


def touch(session: Any, kind: str, *points: tuple[float, float]) -> None:
    touches = [{'x': x, 'y': y, 'id': index} for index, (x, y) in enumerate(points)]
    session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': touches})


def test_fingers_move_the_divider_and_zoom(report: Path, open_page: Any):
    page = open_page(report, has_touch=True, is_mobile=True, viewport={'width': 400, 'height': 800})
    part(page, 'stage').scroll_into_view_if_needed()
    box = part(page, 'stage').bounding_box()
    session = page.context.new_cdp_session(page)

    def at(across: float, down: float) -> tuple[float, float]:
        return box['x'] + box['width'] * across, box['y'] + box['height'] * down

    touch(session, 'touchStart', at(0.5, 0.5))
    for across in (0.45, 0.4, 0.3):
        touch(session, 'touchMove', at(across, 0.5))
    touch(session, 'touchEnd')
    assert page.get_by_role('slider').get_attribute('aria-valuenow') == '30'
    touch(session, 'touchStart', at(0.45, 0.5))
    touch(session, 'touchStart', at(0.45, 0.5), at(0.55, 0.5))
    for reach in (0.1, 0.15, 0.2):
        touch(session, 'touchMove', at(0.5 - reach, 0.5), at(0.5 + reach, 0.5))
    touch(session, 'touchEnd')
    zoom, x, _ = page.evaluate(VIEW)
    assert zoom == pytest.approx(4, rel=0.05)
    assert x == pytest.approx(0.5, abs=0.02)
    touch(session, 'touchStart', at(0.8, 0.5))
    touch(session, 'touchMove', at(0.7, 0.5))
    touch(session, 'touchEnd')
    assert page.evaluate(VIEW)[1] > x + 0.01, 'one finger moves the enlarged image'


def test_arrows_change_the_image_but_not_while_typing(report: Path, open_page: Any):
    page = open_page(report)
    part(page, 'stage').click()
    page.keyboard.press('ArrowRight')
    settle(page, 'img_001')
    assert part(page, 'place').inner_text() == '2 of 3'
    assert part(page, 'scores-title').inner_text() == 'toys, img_001'
    page.keyboard.press('ArrowRight')
    page.keyboard.press('ArrowRight')  # there is no fourth
    settle(page, 'img_002')
    assert part(page, 'next').is_disabled()
    page.keyboard.press('ArrowLeft')
    settle(page, 'img_001')
    part(page, 'search').fill('02')
    settle(page, 'img_002')
    assert part(page, 'image').locator('option').all_inner_texts() == ['img_002']
    part(page, 'search').fill('0')
    page.keyboard.press('ArrowLeft')
    assert page.evaluate(SETTLED) == 'img_002'
    part(page, 'search').fill('no such')
    assert part(page, 'place').inner_text() == 'none found'


def test_the_scores_beside_the_image_are_its_own(report: Path, open_page: Any):
    page = open_page(report)
    part(page, 'next').click()
    settle(page, 'img_001')
    rows = part(page, 'scores').locator('table').first.locator('tr').all_inner_texts()
    assert [row.split() for row in rows] == [
        ['metric', 'bicubic', 'baseline', 'proposed'],
        ['Y-PSNR,', 'dB', '30.50', '35.30', '37.70'],
        ['Y-SSIM', '0.9900', '0.9900', '0.9900'],
    ]


def halves(page: Any) -> tuple[str, str]:
    """A text for what each of the two panes shows, side by side: equal ones for equal pixels."""
    return tuple(
        page.evaluate(
            """async () => {
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                const { canvas } = meaReport.browser.stage;
                const pixels = new Uint32Array(meaReport.readPixels(canvas).buffer);
                const half = (canvas.width - 2) / 2;
                return [0, half + 2].map((start) => {
                    let hash = 0;
                    const colours = new Set();
                    for (let y = 0; y < canvas.height; y += 1) for (let x = 0; x < half; x += 1) {
                        const pixel = pixels[y * canvas.width + start + x];
                        hash = (Math.imul(hash, 31) + pixel) | 0;
                        colours.add(pixel);
                    }
                    return `${hash} of ${colours.size > 50 ? 'many' : 'few'}`;
                });
            }"""
        )
    )


def test_both_sides_share_one_zoom_and_pan(report: Path, open_page: Any):
    page = open_page(report, viewport={'width': 500, 'height': 500})
    choose(page, left='model:baseline', right='model:baseline')
    part(page, 'beside').click()
    left, before = halves(page)
    assert left == before
    assert before.endswith('many')
    part(page, 'stage').focus()
    for key in ('+', '+', '+', 'Shift+ArrowRight', 'Shift+ArrowDown'):
        page.keyboard.press(key)
    zoom, x, y = page.evaluate(VIEW)
    assert zoom == pytest.approx(1.5**3)
    assert x > 0.5
    assert y > 0.5
    left, right = halves(page)
    assert left == right
    assert right != before
    page.keyboard.press('0')
    assert page.evaluate(VIEW) == [1, 0.5, 0.5]
    assert halves(page) == (before, before)


def test_the_wheel_scrolls_the_page_until_the_stage_is_clicked(report: Path, open_page: Any):
    page = open_page(report)
    part(page, 'stage').scroll_into_view_if_needed()
    box = part(page, 'stage').bounding_box()
    at = box['x'] + box['width'] * 0.25, box['y'] + box['height'] * 0.25
    page.mouse.move(*at)
    page.mouse.wheel(0, -40)
    wait_until(page, "document.querySelector('.hint').classList.contains('shown')")
    assert page.evaluate(VIEW)[0] == 1
    part(page, 'stage').scroll_into_view_if_needed()
    box = part(page, 'stage').bounding_box()
    # A wheel's event has whole pixels, wherever on the page the stage begins.
    at = round(box['x'] + box['width'] * 0.25), round(box['y'] + box['height'] * 0.25)
    page.mouse.click(*at)
    under = 'meaReport.browser.stage.place()'
    row = f'(({at[1]} - {box["y"]}) - {under}.top) / {under}.scale'
    before = page.evaluate(row)
    page.mouse.wheel(0, -200)
    wait_until(page, f'{VIEW}[0] > 1.2')
    assert page.evaluate(row) == pytest.approx(before, abs=0.01), 'what is under the pointer stays there'


def test_a_click_below_the_stage_and_digits_choose_a_side(report: Path, open_page: Any):
    page = open_page(report)
    names = part(page, 'strip').locator('span').all_inner_texts()
    assert names == ['query', 'ground truth', 'bicubic', 'victim', 'baseline', 'proposed']
    part(page, 'strip').get_by_role('button', name='proposed').click()
    part(page, 'strip').get_by_role('button', name='ground truth').click(modifiers=['Shift'])
    assert (part(page, 'left').input_value(), part(page, 'right').input_value()) == ('truth', 'model:proposed')
    part(page, 'stage').focus()
    for key in ('3', 'Shift+Digit4', 'x'):
        page.keyboard.press(key)
    assert (part(page, 'left').input_value(), part(page, 'right').input_value()) == ('model:bicubic', 'model:victim')
    assert part(page, 'label-left').inner_text() == 'bicubic'


def picture(report: Path, name: str) -> np.ndarray:
    return read_rgb(report.parent / 'evaluation' / 'images' / 'toys' / 'img_000' / f'{name}.png')


def values(page: Any, key: str, **state: str) -> tuple[np.ndarray, dict]:
    """A map of the image that is shown."""
    choose(page, **state)
    found = page.evaluate(
        """(key) => {
            const { values, width, height, step, offset } = meaReport.browser.map(meaReport.browser.job, key);
            return { values: [...values], width, height, step, offset };
        }""",
        key,
    )
    return np.array(found.pop('values')).reshape(found['height'], found['width']), found


@pytest.mark.parametrize(('reference', 'file'), [('model:victim', 'victim'), ('truth', 'truth')])
def test_the_error_map_is_the_mean_absolute_difference(report: Path, open_page: Any, reference: str, file: str):
    page = open_page(report)
    found, _ = values(page, 'model:baseline', view='error', right='model:baseline', reference=reference)
    expected = np.abs(picture(report, 'baseline').astype(float) - picture(report, file)).mean(2)
    assert np.abs(found - expected).max() < 1e-12
    query = picture(report, 'query').repeat(2, 0).repeat(2, 1).astype(float)
    found, _ = values(page, 'query', view='error', right='query', reference=reference)
    assert np.abs(found - np.abs(query - picture(report, file)).mean(2)).max() < 1e-12


def luma(image: np.ndarray) -> np.ndarray:
    return 16 + image.astype(float) @ np.array([65.481, 128.553, 24.966]) / 255


@pytest.mark.parametrize('level', [1, 2])
def test_the_band_map_is_pywts(report: Path, open_page: Any, level: int):
    page = open_page(report)
    choose(page, right='model:baseline', reference='truth')
    difference = luma(picture(report, 'baseline')) - luma(picture(report, 'truth'))
    details = pywt.wavedec2(difference, 'db3', mode='zero', level=level)[1]
    expected = dict(zip('hvd', map(np.abs, details), strict=True))
    expected['all'] = np.sqrt(sum(band**2 for band in details))
    part(page, 'stage').focus()
    page.locator('input[value=bands]').check()
    part(page, 'level').select_option(str(level))
    for band, coefficients in expected.items():
        part(page, 'band').select_option(band)
        found, where = values(page, 'model:baseline')
        assert found.shape == coefficients.shape
        assert np.abs(found - coefficients).max() < 1e-9
        assert where['step'] == 2**level


@pytest.mark.parametrize('level', [1, 2])
def test_a_band_map_lies_on_its_image(report: Path, open_page: Any, level: int):
    """The energy of a single pixel's coefficients is centred on that pixel, up to the place within a coefficient."""
    page = open_page(report)
    found = page.evaluate(
        """([level, wavelet]) => {
            const [width, height] = [64, 48];
            const sums = [0, 0, 0];
            for (let dy = 0; dy < 2 ** level; dy += 1) for (let dx = 0; dx < 2 ** level; dx += 1) {
                const one = new Uint8ClampedArray(4 * width * height);
                const other = one.slice();
                one[4 * ((20 + dy) * width + 28 + dx)] = 255;
                const map = meaReport.bandMap(one, other, width, height, { level, band: 'all', wavelet });
                map.values.forEach((value, i) => {
                    const [x, y] = [i % map.width, Math.floor(i / map.width)];
                    sums[0] += value ** 2;
                    sums[1] += value ** 2 * (map.offset + (x + 0.5) * map.step);
                    sums[2] += value ** 2 * (map.offset + (y + 0.5) * map.step);
                });
            }
            return [sums[1] / sums[0], sums[2] / sums[0]];
        }""",
        [level, {'low': pywt.Wavelet('db3').dec_lo, 'high': pywt.Wavelet('db3').dec_hi}],
    )
    middle = 2**level / 2  # of the pixels that were set in turn
    assert found == pytest.approx([28 + middle, 20 + middle], abs=0.6 * 2**level)


def test_the_colours_of_a_map_are_the_bars(report: Path, open_page: Any):
    page = open_page(report)
    choose(page, left='model:victim', right='model:proposed', reference='model:victim', view='error')
    assert drawn(page, 0.4) == [10, 20, 30], 'what the others are compared with stays as it is'
    assert part(page, 'label-left').inner_text() == 'victim'
    assert part(page, 'label-right').inner_text() == 'error of proposed'
    assert drawn(page, 0.6) == list(STOPS[-1]), '160 grey levels are beyond the end of the scale'
    part(page, 'span').select_option('255')
    error = np.mean([190, 160, 130])
    expected = [np.interp(error / 255, np.linspace(0, 1, len(STOPS)), channel) for channel in zip(*STOPS, strict=True)]
    wait_until(page, 'meaReport.browser.busy === null')
    assert np.abs(np.array(drawn(page, 0.6)) - expected).max() <= 2
    ticks = page.locator('.ticks span').all_inner_texts()
    assert ticks == ['0', '63.75', '127.5', '191.25', '255']
    assert 'to the victim; grey levels' in part(page, 'bar-title').inner_text()


def test_the_pixel_under_the_pointer_is_told(report: Path, open_page: Any):
    page = open_page(report)
    choose(page, left='model:victim', right='model:proposed')
    part(page, 'stage').scroll_into_view_if_needed()
    box = part(page, 'stage').bounding_box()
    page.mouse.move(box['x'] + box['width'] / 2 + 2, box['y'] + box['height'] / 2 + 2)
    assert part(page, 'readout').inner_text() == 'x 32, y 24: victim 10 20 30, proposed 200 180 160'


def background(page: Any) -> str:
    return page.evaluate('getComputedStyle(document.body).backgroundColor')


def test_light_and_dark_follow_the_system_and_the_button(report: Path, open_page: Any):
    page = open_page(report, color_scheme='light')
    light = background(page)
    page.emulate_media(color_scheme='dark')
    dark = background(page)
    assert (light, dark) == ('rgb(255, 255, 255)', 'rgb(16, 19, 23)')
    button = part(page, 'theme')
    for theme, colour in [('light', light), ('dark', dark), ('auto', dark)]:
        button.click()
        assert button.inner_text() == f'Theme: {theme}'
        assert background(page) == colour
    button.click()
    page.reload()
    assert (button.inner_text(), background(page)) == ('Theme: light', light)
    page.emulate_media(media='print', color_scheme='dark')
    assert background(page) == light
    assert not page.locator('nav').is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator('details:not([open])').count() == 0, 'nothing can be unfolded on paper'
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator('details:not([open])').count() > 0


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_text_stands_out_from_its_background(report: Path, open_page: Any, theme: str):
    """WCAG 2.1: a contrast of 4.5 at least."""
    page = open_page(report, color_scheme=theme)
    names = ('ink', 'muted', 'accent', 'good', 'bad', 'paper', 'panel', 'on-accent')
    styles = page.evaluate(
        '(names) => names.map((n) => getComputedStyle(document.body).getPropertyValue(`--${n}`))', names
    )
    colours = {
        name: np.array([int(text.strip()[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        for name, text in zip(names, styles, strict=True)
    }

    def brightness(name: str) -> float:
        channels = np.where(colours[name] <= 0.04045, colours[name] / 12.92, ((colours[name] + 0.055) / 1.055) ** 2.4)
        return float(channels @ [0.2126, 0.7152, 0.0722])

    pairs = [(text, ground) for text in names[:5] for ground in ('paper', 'panel')] + [('on-accent', 'accent')]
    for text, ground in pairs:
        darker, brighter = sorted((brightness(text), brightness(ground)))
        assert (brighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_a_phone_scrolls_in_one_direction_only(report: Path, open_page: Any, theme: str):
    page = open_page(report, viewport={'width': 360, 'height': 740}, is_mobile=True, has_touch=True, color_scheme=theme)
    for view in ('images', 'error', 'bands'):
        choose(page, view=view)
        page.locator('details').evaluate_all('(all) => all.forEach((one) => { one.open = true; })')
        assert page.evaluate('document.documentElement.scrollWidth') == 360
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input, h1, h2, p')].map((one) => {
            const { left, right, width } = one.getBoundingClientRect();
            return width && !one.closest('.scroll, .segments, .unseen, nav, .skip') ? [left, right] : [0, 0];
        })"""
    )
    assert min(left for left, _ in boxes) >= 0
    assert max(right for _, right in boxes) <= 360


def test_every_control_has_a_name_and_can_be_reached(report: Path, open_page: Any):
    page = open_page(report)
    names = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input, [role=slider], [tabindex="0"]')]
            .map((one) => one.ariaLabel || one.textContent.trim() || one.closest('label')?.textContent.trim()
                || one.outerHTML)"""
    )
    assert not [name for name in names if name.startswith('<')]
    reached = set()
    for _ in range(60):
        page.keyboard.press('Tab')
        name, outline = page.evaluate(
            """() => {
                const one = document.activeElement;
                const name = one.dataset.part ?? one.getAttribute('role') ?? one.tagName;
                return [name, one.matches(':focus-visible')];
            }"""
        )
        reached.add(name)
        assert outline or name == 'BODY'
    wanted = 'search image next left swap right stage slider closer farther fit beside'
    assert set(wanted.split()) <= reached
    ids = page.locator('[id]').evaluate_all('(all) => all.map((one) => one.id)')
    assert len(ids) == len(set(ids))


def test_the_command_is_copied(report: Path, open_page: Any):
    page = open_page(report)
    button = page.locator('.command button')
    button.click()
    wait_until(page, "document.querySelector('.command button').textContent === 'Copied'")
    part(page, 'search').focus()
    page.keyboard.press('Control+V')
    pasted = part(page, 'search').input_value()
    assert pasted == "python tools/evaluate.py -opt study.yml report --title 'a b'", 'on one line, in this field'


def test_without_scripts_the_tables_are_there(report: Path, open_page: Any):
    page = open_page(report, settled=False, java_script_enabled=False)
    assert page.locator('#results table').first.is_visible()
    assert page.get_by_text('needs JavaScript').is_visible()
    assert not part(page, 'browser').is_visible()


ATTACK = '</script><img src=x onerror="globalThis.hacked=1">\'"&<b>{{ 7 * 7 }}'


@pytest.mark.filterwarnings('ignore:constrained_layout')  # no figure has room for such names
def test_names_are_text_whatever_they_say(open_page: Any, tmp_path: Path):
    def change(content: dict) -> None:
        text = repr(content)
        names = {'proposed', 'toys', 'img_000', 'study', 'Y-PSNR', 'network victim', 'a processor', 'dB'}
        assert all(repr(name) in text for name in names)
        content.update(_replace(content, names))
        content['options'] = {ATTACK: {'name': ATTACK}}
        content['command'] = ['python', ATTACK]

    folder = make_evaluation(tmp_path / 'evil', change=change)
    page = open_page(make_report([folder], tmp_path / 'evil.html', command=[ATTACK]).page)
    part(page, 'search').fill('<img')
    settle(page, ATTACK)
    assert part(page, 'place').inner_text() == '1 of 1'
    assert page.evaluate('typeof hacked') == 'undefined'
    assert page.locator('img').count() == 0
    assert page.locator('b:not(table b)').count() == 0
    assert page.title() == ATTACK
    assert page.locator('h1').inner_text() == ATTACK
    assert part(page, 'scores-title').inner_text() == f'{ATTACK}, {ATTACK}'


def _replace(value: Any, names: set[str]) -> Any:
    """The content with an attack in place of names; file names stay."""
    if isinstance(value, dict):
        return {ATTACK if key in names else key: _replace(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_replace(one, names) for one in value]
    return ATTACK if isinstance(value, str) and value in names else value


SWITCH_SECONDS = 0.1
"""The median time from one image to the next; on two busy cores it is a fifth of that."""


def test_two_hundred_images_stay_smooth(open_page: Any, tmp_path: Path):
    folder = make_evaluation(tmp_path / 'many', count=200, size=(32, 48))
    page = open_page(make_report([folder], tmp_path / 'many.html', images=200).page)
    session = page.context.new_cdp_session(page)

    def heap() -> int:
        session.send('HeapProfiler.collectGarbage')
        return page.evaluate('performance.memory.usedJSHeapSize')

    go = """async (count) => {
        const { browser } = meaReport;
        const times = [];
        let most = 0;
        for (let i = 0; i < count; i += 1) {
            const start = performance.now();
            browser.step(1);
            await browser.busy;
            times.push((performance.now() - start) / 1000);
            most = Math.max(most, browser.pictures.bitmaps.size);
        }
        return [times, most];
    }"""
    page.evaluate(go, 10)
    before = heap()
    times, most = page.evaluate(go, 189)
    assert part(page, 'place').inner_text() == '200 of 200'
    assert statistics.median(times) < SWITCH_SECONDS
    assert most <= 6 + 2 * 2, 'the image that is shown, and two pictures of each neighbour'
    assert heap() - before < 4e6
    part(page, 'stage').scroll_into_view_if_needed()
    for _ in range(30):  # keys held down: only the last image must be shown
        page.keyboard.press('ArrowLeft')
    settle(page, 'img_169')
    page.evaluate('meaReport.browser.step(30)')
    settle(page, 'img_199')
