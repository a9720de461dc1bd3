"""What BasicSR's training state lacks of a model: gradient scalers and the best results of validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mea_plugin.basicsr.models.training_step import TrainingStep

__all__ = ['load_training_state', 'saved_states', 'training_state']

Best = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By validation set and metric: ``val``, ``iter``, ``better``."""


def saved_states(folder: str | Path) -> list[Path]:
    """The state files of a folder, newest first."""
    states = [path for path in Path(folder).glob('*.state') if path.stem.isdecimal() and path.stem.isascii()]
    return sorted(states, key=lambda path: -int(path.stem))


def training_state(steps: Sequence[TrainingStep], best: Best) -> dict[str, Any]:
    """Plain values, which ``weights_only`` loading can read.

    Args:
        steps: In a fixed order.
        best: The best results so far.
    """
    scalers = [None if step.scaler is None else step.scaler.state_dict() for step in steps]
    return {'scalers': scalers, 'best_metric_results': _copied(best)}


def load_training_state(
    steps: Sequence[TrainingStep], state: Mapping[str, Any]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Put the scalers back; returns the best results. A scaler that only one of the two runs has is left as it is."""
    for step, saved in zip(steps, state['scalers'], strict=True):
        if step.scaler is not None and saved:
            step.scaler.load_state_dict(saved)
    return _copied(state['best_metric_results'])


def _copied(best: Best) -> dict[str, dict[str, dict[str, Any]]]:
    return {name: {metric: dict(one) for metric, one in results.items()} for name, results in best.items()}
