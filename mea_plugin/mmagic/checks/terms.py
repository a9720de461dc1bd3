"""Checks of the loss terms of a config: their types, their arguments, and whether they take the training's crops."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mmagic.registry import MODELS

from mea_plugin.mmagic.checks.config_types import build_with, check_type
from mea_plugin.mmagic.models.objective import terms_of
from mea_plugin.training.terms import try_term

__all__ = ['check_terms']

# Modules of losses that load weights, or fetch them, when they are built.
_LOADING = ('perceptual_loss', 'feature_loss', 'clip_loss', 'face_id_loss')


def check_terms(model: Mapping[str, Any], crop: int | None, where: str) -> None:
    """Check a model's loss terms by building them, and by running them where the crops' size is known.

    Args:
        model: Its options.
        crop: Height and width of the crops.
        where: The file and section, for errors.

    Raises:
        InputError: The list, a type or an argument cannot be used, or a loss does not take such crops.
    """
    for one in terms_of(model, where=where):
        found = check_type(MODELS, one.loss, one.where)
        module = str(getattr(found, '__module__', ''))
        if module.split('.')[0] in ('mmagic', 'mea_plugin') and module.split('.')[-1] not in _LOADING:
            try_term(one, partial(build_with, found, one.loss), crop)
