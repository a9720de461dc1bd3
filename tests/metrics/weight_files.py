"""Weight files of random networks under published names, for tests that load them for real."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from mea_plugin.metrics.published_weights import KNOWN


def expect(monkeypatch, name: str, content: bytes) -> None:
    """Let some content be the published one of a file."""
    file = KNOWN[name]._replace(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setitem(KNOWN, name, file)


def publish(monkeypatch, folder: Path, name: str, state: dict, **options) -> Path:
    """Save a state dict as the published file of a name."""
    path = folder / name
    torch.save(state, path, **options)
    expect(monkeypatch, name, path.read_bytes())
    return path
