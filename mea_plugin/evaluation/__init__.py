"""Evaluation: fidelity (surrogate against victim) and task quality (both against the ground truth)."""

from mea_plugin.evaluation.evaluate import evaluate
from mea_plugin.evaluation.job import Evaluation, EvaluationPaths, evaluate_from_options
from mea_plugin.evaluation.pairs import EvaluationSet
from mea_plugin.evaluation.results import EvaluationResult

__all__ = [
    'Evaluation',
    'EvaluationPaths',
    'EvaluationResult',
    'EvaluationSet',
    'evaluate',
    'evaluate_from_options',
]
