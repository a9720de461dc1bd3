"""Adapter for MMagic: importing it registers the losses, optimizers and models of this package into the toolbox."""

from mea_plugin.toolboxes import mmagic_compat as compat

compat.apply()

from mea_plugin.mmagic.register import register_all  # noqa: E402 - needs the work-arounds

register_all()

__all__ = ['register_all']
