"""Images in, prepared images out: sources, resizing, recipes for whole folders."""
