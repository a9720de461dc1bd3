"""Black boxes behind one protocol; :func:`build_victim` makes one from its options."""

from mea_plugin.victims.base import Victim
from mea_plugin.victims.registry import build_victim, register_victim, victim_types

__all__ = ['Victim', 'build_victim', 'register_victim', 'victim_types']
