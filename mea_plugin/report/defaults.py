"""What a report takes where nobody says otherwise; ``--help`` reads them without any package."""

__all__ = ['IMAGES', 'PRICE']

IMAGES = 20
"""How many images of each test set are shown."""

PRICE = 0.01
"""Of a query."""
