"""Asking a victim within a budget; every answer is kept as soon as it is there."""

from mea_plugin.query.engine import run_queries

__all__ = ['run_queries']
