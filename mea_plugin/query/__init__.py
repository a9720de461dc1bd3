"""Asking the victim: the engine that sends queries, and the query set that keeps what came back."""

from mea_plugin.query.engine import run_queries
from mea_plugin.query.query_set import QuerySet, check_complete

__all__ = ['QuerySet', 'check_complete', 'run_queries']
