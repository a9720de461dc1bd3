#!/usr/bin/env python
"""Show what is installed, what of it clashes, and what to type; exit code 1 when something does not work.

With --schema: print the JSON schema of an option file instead, with which editors complete and check it.
With --verify: check everything that lies in a folder of results instead; exit code 1 when something is damaged.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence

from mea_plugin import __version__
from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.doctor.machine import (
    examine_folders,
    examine_gpu,
    examine_metric_weights,
    examine_weights,
    python_to_type,
    used_folders,
)
from mea_plugin.doctor.needs import examine_needs
from mea_plugin.doctor.report import examine, installed_versions, report
from mea_plugin.toolboxes.mediapipe_compat import mediapipe_lacks_solutions


def main(argv: Sequence[str] | None = None) -> None:
    """Print the report, or a schema."""
    parser = ToolParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--schema', metavar='KIND', help='extract, query, study, ..., victim:onnx, defence:jpeg')
    parser.add_argument('--verify', metavar='FOLDER', help='check ledgers, answers, checkpoints and results there')
    args = parser.parse_args(argv)
    if args.verify is not None:
        from mea_plugin.doctor.verify import verify  # needs numpy and torch

        found = verify(args.verify)
        print(found)
        if found.damage:
            sys.exit(1)
        return
    if args.schema is not None:
        from mea_plugin.doctor.option_files import editor_schema  # imports the models of every tool

        print(json.dumps(editor_schema(args.schema), indent=2))
        return
    versions = installed_versions()
    findings = examine(versions, sys.version_info[:2], mediapipe_broken=mediapipe_lacks_solutions())
    gpu, of_gpu = examine_gpu(versions, os.environ)
    weights, of_weights = examine_weights(os.environ)
    of_metrics, wrong = examine_metric_weights(os.environ)
    findings += of_gpu + of_weights + wrong + examine_folders(used_folders(os.environ))
    findings += examine_needs(versions)
    findings.sort(key=lambda finding: not finding.serious)
    head = f'mea_plugin {__version__}, Python {platform.python_version()}, {platform.platform()}'
    text = '\n'.join([head, gpu, *weights, *of_metrics, report(versions, findings)])
    print(text.replace('python -m ', f'{python_to_type()} -m '))
    if any(finding.serious for finding in findings):
        sys.exit(1)


if __name__ == '__main__':
    sys.exit(run_tool(main))
