"""A training run in BasicSR: command line, option file, loop, checkpoints, validation."""
