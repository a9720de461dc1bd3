"""Where images come from, how they are shrunk, and how folders of them are made."""
