"""The sections of BasicSR's option files, as BasicSR 1.4.2 and this package read them."""
