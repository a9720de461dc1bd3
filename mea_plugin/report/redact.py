"""Keeping secrets out of what is published: by the names of options, and by what keys look like in text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ['HIDDEN', 'redact', 'redact_command', 'redact_text']

HIDDEN = '***'
"""Stands for what was taken out; it is what the HTTP victim writes, too."""

_WORDS = r'(?:key|token|secret|passw(?:or)?d|credential|authorization|auth|cookie|header|signature|bearer)s?'
_SECRET = re.compile(rf'(?:^|[^a-z]){_WORDS}$|api_?key|passwor?d')
_PLAIN = frozenset({'param_key', 'param_key_g', 'param_key_d'})  # names of weights in a file
_KEY_PARTS = frozenset({'env', 'header', 'prefix'})  # of `key:`, which names the variable and never holds the key

_PATTERNS = (
    (re.compile(r'\b(Bearer|Basic|Token)\s+[^\s\'",}\]]+', re.IGNORECASE), rf'\1 {HIDDEN}'),
    (re.compile(r'\bmea_[\w-]{20,}'), HIDDEN),  # the service's own keys
    (re.compile(r'\b(?:sk|pk|hf|gh[pousr]|xox[abp])[-_][\w-]{16,}'), HIDDEN),
    (re.compile(r'(://)[^/\s@\'"]+@'), rf'\1{HIDDEN}@'),  # user:password@host
    (re.compile(rf'([?&;][\w.-]*?{_WORDS}=)[^&;\s\'"]+', re.IGNORECASE), rf'\1{HIDDEN}'),
    (re.compile(rf'(\b(?:[\w.-]*[_.:-])?{_WORDS}=)(?!{re.escape(HIDDEN)})[^&;\s\'"]+', re.IGNORECASE), rf'\1{HIDDEN}'),
)


def redact(value: Any) -> Any:
    """A copy of JSON-like values without secrets.

    The value of an option whose name speaks of a key, token, password, cookie or header becomes :data:`HIDDEN`, with
    all that is below it; ``key: {env: NAME}`` keeps its names. In other text, what looks like a key is taken out.
    """
    if isinstance(value, Mapping):
        return {name: _redact_option(str(name), one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [redact(one) for one in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_text(text: str) -> str:
    """Text without what looks like a key: bearer tokens, passwords in URLs, ``token=...``."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_command(words: list[str]) -> list[str]:
    """A command without secrets: ``--token VALUE`` loses its value, too."""
    clean = []
    hide = False
    for word in words:
        clean.append(HIDDEN if hide else redact_text(word))
        hide = not hide and word.startswith('-') and '=' not in word and _is_secret(word.lstrip('-'))
    return clean


def _redact_option(name: str, value: Any) -> Any:
    if not _is_secret(name) or value is None or isinstance(value, bool):
        return redact(value)
    if name == 'key' and isinstance(value, Mapping):
        return {key: redact(one) if key in _KEY_PARTS else HIDDEN for key, one in value.items()}
    return HIDDEN


def _is_secret(name: str) -> bool:
    words = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()
    return words not in _PLAIN and _SECRET.search(words) is not None
