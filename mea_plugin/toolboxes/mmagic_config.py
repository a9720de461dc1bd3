"""Reading MMagic's configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mea_plugin.core.errors import InputError

__all__ = ['load_config']


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a config and lay overrides over it. A config is Python: reading it runs it.

    Args:
        path: The file.
        overrides: By dotted keys (``model.hf_loss.level``) or as nested dicts; a dict with ``_delete_`` replaces what
            it meets.

    Raises:
        InputError: There is no such file, or it cannot be read.
    """
    if not Path(path).is_file():
        raise InputError('no such config', where=path, do='Check the path')
    try:
        cfg = Config.fromfile(str(path))
        cfg.merge_from_dict(overrides or {})
    except Exception as error:  # the file runs code of its own
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise InputError(f'cannot be read ({reason})', where=path, do='Correct the config or the override') from error
    return cfg
