"""The folder format between asking a victim and training a surrogate: written, checked, cut, split and converted."""

from mea_plugin.query_sets.layout import QuerySet, check_complete

__all__ = ['QuerySet', 'check_complete']
