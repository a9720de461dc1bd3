"""Pictures of a report, as the README has them: python -m mea_plugin.report.screenshot REPORT.html DIR.

Needs playwright and Chromium (``make chromium``).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import import_optional

__all__ = ['main']

_WIDE, _PHONE = {'width': 1280, 'height': 800}, {'width': 360, 'height': 740}
_SHOW = """async ({ view, image, zoom }) => {
    const { browser } = meaReport;
    const at = image === null ? browser.state.image : browser.testSet.pictures.findIndex((one) => one.image === image);
    if (at < 0) return false;
    document.querySelector(`input[name=view][value=${view}]`).checked = true;
    await browser.change({ image: at, view });
    if (zoom) browser.stage.move({ x: zoom[0], y: zoom[1], zoom: zoom[2] });
    document.querySelector('#images').scrollIntoView();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return true;
}"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write ``report_tables.png``, ``report_images.png``, ``report_error.png`` (dark) and ``report_phone.png``."""
    parser = ToolParser(prog='python -m mea_plugin.report.screenshot', description=main.__doc__)
    parser.add_argument('report', type=Path, metavar='REPORT.html')
    parser.add_argument('output', type=Path, metavar='DIR')
    parser.add_argument('--image', metavar='NAME', help='the image to show (default: the first)')
    parser.add_argument(
        '--zoom', type=float, nargs=3, metavar=('X', 'Y', 'ZOOM'), help='its middle, as shares of width and height'
    )
    args = parser.parse_args(argv)
    if not args.report.is_file():
        raise InputError('no such file', where=args.report, do='Make it with tools/report.py')
    sync_playwright = import_optional('playwright.sync_api', 'a screenshot').sync_playwright
    executable = shutil.which('chromium')
    if executable is None:
        raise InputError('Chromium is not installed', do='Type: make chromium')
    args.output.mkdir(parents=True, exist_ok=True)
    address = args.report.absolute().as_uri()
    sandbox = ['--no-sandbox'] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=sandbox)
        wanted = {'image': args.image, 'zoom': args.zoom}
        for name, view, options in (
            ('tables', None, {'viewport': _WIDE}),
            ('images', 'images', {'viewport': _WIDE}),
            ('error', 'error', {'viewport': _WIDE, 'color_scheme': 'dark'}),
            ('phone', 'images', {'viewport': _PHONE, 'device_scale_factor': 2, 'has_touch': True, 'is_mobile': True}),
        ):
            page = browser.new_page(**options)
            page.route('**/*', lambda route: _only(route, address))
            page.goto(address)
            if view:
                _show(page, {'view': view, **wanted}, args.report)
            path = args.output / f'report_{name}.png'
            page.screenshot(path=path)
            page.close()
            print(path)
        browser.close()


def _only(route: Any, address: str) -> None:
    """A page may be somebody else's: no other file of this machine gets into the picture."""
    if route.request.url.partition('#')[0] == address:
        route.continue_()
    else:
        route.abort()


def _show(page: Any, wanted: dict[str, Any], report: Path) -> None:
    """Bring the image browser into view, with the image that is wanted."""
    if page.evaluate('typeof meaReport') == 'undefined':
        raise InputError('shows no images', where=report, do='Evaluate with save_images: all')
    if not page.evaluate(_SHOW, wanted):
        raise InputError(f'shows no image {wanted["image"]} first of all', where=report, do='Check --image')


if __name__ == '__main__':
    sys.exit(run_tool(main))
