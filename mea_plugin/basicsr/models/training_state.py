"""What BasicSR's training state lacks of a model: gradient scalers and the best results of validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mea_plugin.basicsr.models.passes import Turn

__all__ = ['load_training_state', 'training_state']

Best = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By validation set and metric: ``val``, ``iter``, ``better``."""


def training_state(turns: Sequence[Turn], best: Best) -> dict[str, Any]:
    """Plain values, which ``weights_only`` loading can read.

    Args:
        turns: In a fixed order.
        best: The best results so far.
    """
    scalers = [None if turn.scaler is None else turn.scaler.state_dict() for turn in turns]
    return {'scalers': scalers, 'best_metric_results': _copied(best)}


def load_training_state(turns: Sequence[Turn], state: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Put the scalers back; returns the best results. A scaler that only one of the two runs has is left as it is."""
    for turn, saved in zip(turns, state['scalers'], strict=True):
        if turn.scaler is not None and saved:
            turn.scaler.load_state_dict(saved)
    return _copied(state['best_metric_results'])


def _copied(best: Best) -> dict[str, dict[str, dict[str, Any]]]:
    return {name: {metric: dict(one) for metric, one in results.items()} for name, results in best.items()}
