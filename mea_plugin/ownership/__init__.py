"""Test whether a suspect network was trained on watermarked answers of one's own service."""
