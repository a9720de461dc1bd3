"""What every other package stands on: errors, files, images, option files, processes. torch at most, no toolbox."""
