"""Kinds of option files, and the JSON schema of each: editors complete and check YAML with it."""

from __future__ import annotations

import importlib
from typing import Any

from mea_plugin.core.errors import InputError, suggestion

__all__ = ['KINDS', 'schema_of']

KINDS: dict[str, str] = {}
"""Where the model of each kind is: ``module:class``."""


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a kind of option file.

    Args:
        kind: One of :data:`KINDS`.

    Raises:
        InputError: There is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"no option file '{kind}'", where='--schema', do=suggestion(kind, KINDS))
    module, _, name = KINDS[kind].partition(':')
    model = getattr(importlib.import_module(module), name)
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', **model.model_json_schema()}
