"""Query, train, evaluate: a whole extraction from one option file."""

from mea_plugin.extract.options import load_extraction
from mea_plugin.extract.pipeline import extract

__all__ = ['extract', 'load_extraction']
