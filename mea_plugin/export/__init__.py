"""A trained surrogate as a file that other programs read, written by :func:`export_surrogate`."""

from mea_plugin.export.exporter import FORMATS, Exported, export_surrogate
from mea_plugin.export.surrogate import Surrogate, load_basicsr, load_mmagic, load_surrogate

__all__ = ['FORMATS', 'Exported', 'Surrogate', 'export_surrogate', 'load_basicsr', 'load_mmagic', 'load_surrogate']
