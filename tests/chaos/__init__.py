"""Runs against a service that fails in every way at once, and the books of both sides afterwards: ``make chaos``."""
