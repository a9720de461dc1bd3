"""Data sets, loaders and transforms for MMagic."""
