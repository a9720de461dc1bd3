"""Adapter for BasicSR: importing it registers what this package adds to the toolbox."""

from mea_plugin.toolboxes import basicsr_compat as compat

compat.apply()

from mea_plugin.basicsr.register import register_all  # noqa: E402 - needs the work-arounds

register_all()

__all__ = ['register_all']
