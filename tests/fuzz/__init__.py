"""Every reader of untrusted bytes against bytes that nobody meant to write: ``make fuzz``."""
