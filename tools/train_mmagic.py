#!/usr/bin/env python
"""Train a surrogate with MMagic: its own arguments, on GPU or CPU."""

import sys

from mea_plugin.cli import run_tool
from mea_plugin.mmagic.train import main

if __name__ == '__main__':
    sys.exit(run_tool(main))
