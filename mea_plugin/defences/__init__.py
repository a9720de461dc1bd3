"""What an API owner can switch on: defences on the answers, and the proof that a surrogate was trained on them."""

from mea_plugin.defences.base import AnswerDefence
from mea_plugin.defences.registry import build_defences, defence_types, register_defence
from mea_plugin.defences.victim import DefendedVictim

__all__ = ['AnswerDefence', 'DefendedVictim', 'build_defences', 'defence_types', 'register_defence']
