"""How close two images, or two sets of images, are: one file a metric, each under a stated protocol."""
