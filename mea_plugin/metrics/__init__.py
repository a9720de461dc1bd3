"""Metrics between two images, or two sets of images: one file a metric, each under a stated protocol."""
