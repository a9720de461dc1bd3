"""Metrics between two images, or two sets of images: one file a metric, each under a stated protocol."""

from mea_plugin.metrics.registry import register_metric

__all__ = ['register_metric']
