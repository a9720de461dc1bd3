"""Ctrl-C at a chosen line of traced files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any


def interrupt_at(line: int, files: Collection[str], enter: Callable[[], AbstractContextManager]) -> tuple[int, bool]:
    """Enter and leave a context while the ``line``-th line event in the files raises ``KeyboardInterrupt``.

    Returns:
        How many line events there were, and whether the interrupt came out of the context.
    """
    seen = 0

    def tracer(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename not in files:
            return None
        if event == 'line':
            seen += 1
            if seen == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return tracer

    previous = sys.gettrace()
    try:
        sys.settrace(tracer)
        with enter():
            pass
    except KeyboardInterrupt:
        return seen, True
    finally:
        sys.settrace(previous)
    return seen, False
