"""Checks of an MMagic config before anything is built."""
