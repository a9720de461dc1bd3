"""A victim behind HTTP: how it is asked is options."""

from mea_plugin.victims.http.victim import HTTPVictim

__all__ = ['HTTPVictim']
