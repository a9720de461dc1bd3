"""A victim behind HTTP: keys, quotas, limits, idempotent retries, jobs. Serve only models that you may offer."""

from mea_plugin.serving.options import ServeOptions

__all__ = ['ServeOptions']
