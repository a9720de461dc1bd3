"""A figure as SVG inside a page: it takes the page's text colour and font, and the page's colours for its series."""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from mea_plugin.report.figures.style import INK, LIGHT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['to_svg']

_SVG, _XLINK = 'http://www.w3.org/2000/svg', 'http://www.w3.org/1999/xlink'
_COLOURS = {INK: 'currentColor', **{colour: f'var(--{name}, {colour})' for name, colour in LIGHT.items()}}
_PIXELS = 96 / 72  # CSS pixels in a point


@styled
def to_svg(figure: Figure, title: str, description: str = '') -> str:
    """An ``svg`` element to stand in HTML.

    Text and axes have the colour ``currentColor`` and the page's font. Series have the colours of the CSS variables of
    :data:`~mea_plugin.report.figures.style.LIGHT`, or its values where a page sets none. There is no reference outside
    the element, and its ids are its own: several can stand in one page.

    Args:
        figure: Of any function of this package.
        title: What a screen reader says.
        description: What it says to those who ask for more.
    """
    buffer = io.StringIO()
    unwanted = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
    figure.savefig(buffer, format='svg', transparent=True, metadata=unwanted)
    source = buffer.getvalue()
    root = ElementTree.fromstring(source[source.index('<svg') :])
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f'{{{_SVG}}}metadata', f'{{{_SVG}}}style')]:
            parent.remove(child)
    for element in root.iter():
        _adapt(element)
    # Of the content, but for what matplotlib derives from addresses in memory.
    content = re.sub(r'id="[^"]*"|#[\w-]+', '', ElementTree.tostring(root, encoding='unicode'))
    _own_ids(root, 'f' + hashlib.sha256(f'{title}{description}{content}'.encode()).hexdigest()[:8])
    _announce(root, title, description)
    # Without prefixes: an HTML parser knows no namespaces.
    for element in root.iter():
        element.tag = element.tag.removeprefix(f'{{{_SVG}}}')
    root.set('xmlns', _SVG)
    return ElementTree.tostring(root, encoding='unicode')


def _adapt(element: ElementTree.Element) -> None:
    """Colours, font and precision of one element."""
    target = element.attrib.pop(f'{{{_XLINK}}}href', None)
    if target is not None:
        element.set('href', target)
    for name in ('d', 'x', 'y', 'width', 'height', 'points', 'transform'):
        if name in element.attrib:
            element.set(name, re.sub(r'-?\d+\.\d{3,}', _rounded, element.attrib[name]))
    if 'style' in element.attrib:
        style = re.sub(r'#[0-9a-f]{6}', lambda match: _COLOURS.get(match[0], match[0]), element.attrib['style'])
        style = re.sub(r'font: [^;]*?([\d.]+px) [^;]*', r'font-size: \1', style)
        style = re.sub(r'font-family: [^;]*;? ?', '', style)
        element.set('style', style)
    element.text = (element.text or '').strip() or None
    element.tail = None


def _rounded(match: re.Match[str]) -> str:
    return f'{float(match[0]):.2f}'.rstrip('0').rstrip('.')


def _own_ids(root: ElementTree.Element, prefix: str) -> None:
    """Keep the ids that something refers to, under names of this figure."""
    attributes = [(element, name) for element in root.iter() for name in element.attrib if name != 'id']
    pattern = re.compile(r'(?<=url\(#)[^)]+|(?<=^#).+')
    names: dict[str, str] = {}
    for element, name in attributes:
        if name not in ('href', 'clip-path', 'style', 'mask'):
            continue
        value = element.attrib[name]
        for old in pattern.findall(value):
            new = names.setdefault(old, f'{prefix}-{len(names)}')
            value = value.replace(f'#{old}', f'#{new}')
        element.set(name, value)
    for element in root.iter():
        if (own := element.attrib.pop('id', None)) in names:
            element.set('id', names[own])


def _announce(root: ElementTree.Element, title: str, description: str) -> None:
    """Size and accessible name."""
    width, height = (float(root.attrib.pop(name).removesuffix('pt')) * _PIXELS for name in ('width', 'height'))
    root.attrib.pop('version', None)
    root.set('width', f'{width:.0f}')
    root.set('height', f'{height:.0f}')
    root.set('style', 'max-width: 100%; height: auto; fill: currentColor')
    root.set('role', 'img')
    root.set('aria-label', title)
    for position, (tag, text) in enumerate([('title', title), ('desc', description)]):
        if text:
            element = ElementTree.Element(f'{{{_SVG}}}{tag}')
            element.text = text
            root.insert(position, element)
