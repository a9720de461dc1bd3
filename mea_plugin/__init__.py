"""Model extraction of image-to-image networks, for BasicSR and MMagic.

Importing this package loads neither torch nor a toolbox. Import an adapter (``mea_plugin.basicsr``) to register
the models, losses and optimizers of this package into that toolbox.
"""

__version__ = '0.1.0'

__all__ = ['__version__']
