#!/usr/bin/env python
"""Train a surrogate with BasicSR: its own arguments, on GPU or CPU."""

import sys

from mea_plugin.basicsr.train import main
from mea_plugin.cli import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(main))
