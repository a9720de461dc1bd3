"""Damaged examples: what a hypothesis strategy, and a file's history, make of whole ones."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@st.composite
def damaged(draw: st.DrawFn, examples: Sequence[bytes]) -> bytes:
    """One of some examples after a few edits: flipped, cut, doubled, inserted or overwritten with extreme numbers."""
    data = bytearray(draw(st.sampled_from(examples)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(('flip', 'cut', 'drop', 'double', 'insert', 'number'))):
            case 'flip' if data:
                data[place] ^= 1 << draw(st.integers(0, 7))
            case 'cut':
                del data[place:]
            case 'drop':
                del data[place : place + draw(st.integers(1, 64))]
            case 'double':
                data[place:place] = data[place : place + draw(st.integers(1, 256))] * draw(st.integers(1, 8))
            case 'insert':
                data[place:place] = draw(st.binary(max_size=16))
            case 'number':
                width, order = draw(st.sampled_from((1, 2, 4))), draw(st.sampled_from(('big', 'little')))
                number = draw(st.sampled_from(_NUMBERS)) % (1 << 8 * width)
                data[place : place + width] = number.to_bytes(width, order)
    return bytes(data)
