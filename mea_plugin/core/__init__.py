"""Foundations for every other package: errors, files, images, option files, processes. torch at most, no toolbox."""
