"""Data sets and loaders for BasicSR."""
