"""A training run in MMEngine: runner, loop, checkpoints, resume, validation."""
