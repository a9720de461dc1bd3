"""Checks behind ``tools/doctor.py``: installed packages and their clashes, the machine, schemas of option files."""
