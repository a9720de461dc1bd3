"""What is installed, what of it clashes, and what to type: the checks behind ``tools/doctor.py``."""
