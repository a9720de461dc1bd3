"""Checks of a BasicSR option file before anything is built."""
