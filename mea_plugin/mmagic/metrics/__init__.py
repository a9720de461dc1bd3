"""Metrics of this package for MMagic's validation."""
