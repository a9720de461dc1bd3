"""Transforms of answers that an API owner can switch on."""

from mea_plugin.defences.base import AnswerDefence
from mea_plugin.defences.registry import build_defences, defence_types, register_defence

__all__ = ['AnswerDefence', 'build_defences', 'defence_types', 'register_defence']
