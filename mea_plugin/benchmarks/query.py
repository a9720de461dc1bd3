"""Speed of a query run beside the work that nobody can leave out, and what a long ledger costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mea_plugin.benchmarks.timing import compare, format_table
from mea_plugin.core.files import hash_array
from mea_plugin.core.images import encode_png
from mea_plugin.data.sources import image_references
from mea_plugin.query import run_queries
from mea_plugin.query.engine import claim, ledger_folder
from mea_plugin.query.ledger import Ledger
from mea_plugin.victims import Victim, build_victim

__all__ = ['large_victim', 'noise_images', 'run']

_BATCH = 8
_SIZE = (120, 160)
_LARGE = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4}


def run(rounds: int = 5, quick: bool = False) -> tuple[str, list[dict[str, object]]]:
    """Compare a run with the bare forward loop and with encoding alone; time a resume; watch memory.

    Args:
        rounds: Timed rounds; each runs every case once.
        quick: A few images, one round: shows that everything runs, not how fast.

    Returns:
        The tables as Markdown, and one dict per number.
    """
    parts, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, victim, count in (
            ('embedded', build_victim({'type': 'embedded', 'batch_size': _BATCH}), 120),
            ('MSRResNet', build_victim(large_victim(Path(folder))), 16),
        ):
            text, found = _throughput(name, victim, 4 if quick else count, 1 if quick else rounds, Path(folder) / name)
            parts.append(text)
            rows += found
        for measure, count in ((_resume, 300 if quick else 100_000), (_memory, 300 if quick else 10_000)):
            text, row = measure(count, Path(folder))
            parts.append(text)
            rows.append(row)
    return '\n'.join(parts), rows


def noise_images(count: int, size: tuple[int, int], folder: Path) -> Path:
    """A folder of different images, smooth as photographs are: PNG, uint8 RGB."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 9, 12))).float()
        smooth = torch.nn.functional.interpolate(coarse, size, mode='bicubic', align_corners=False)
        image = smooth[0].permute(1, 2, 0).numpy() + rng.normal(0, 4, (*size, 3))
        (folder / f'{index:06d}.png').write_bytes(encode_png(image.clip(0, 255).astype(np.uint8)))
    return folder


def large_victim(folder: Path) -> dict[str, Any]:
    """Options of 1.5 million parameters, untrained: how fast a network is does not depend on what it has learned."""
    from mea_plugin.toolboxes.basicsr_networks import build_network

    torch.manual_seed(0)
    weights = folder / 'large.pth'
    torch.save({'params': build_network(_LARGE, where='benchmark').state_dict()}, weights)
    return {'type': 'basicsr', 'network_g': _LARGE, 'weights': str(weights), 'batch_size': _BATCH}


def _throughput(
    name: str, victim: Victim, count: int, rounds: int, folder: Path
) -> tuple[str, list[dict[str, object]]]:
    images = image_references(noise_images(count, _SIZE, folder / 'images'))
    pixels = [image.read() for image in images.values()]
    batches = [np.stack(pixels[start : start + _BATCH]) for start in range(0, count, _BATCH)]
    tensors = [torch.from_numpy(batch).permute(0, 3, 1, 2).float().div(255) for batch in batches]
    answers = [answer for batch in batches for answer in victim.query(list(batch))]
    network: Any = victim._network  # type: ignore[attr-defined]
    fresh = _fresh_folders(folder)

    @torch.inference_mode()
    def forward() -> None:
        for batch in tensors:
            network(batch)

    def encode() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(encode_png, answers))

    def whole() -> None:
        run_queries(victim, images, next(fresh) / 'queries', batch_size=_BATCH)

    cases: dict[str, Callable[[], object]] = {'forward loop': forward, 'PNG encoding, 2 threads': encode, 'run': whole}
    timings = compare(cases, 'forward loop', rounds=rounds, warmup=0 if rounds == 1 else 1)
    by_name = {timing.name: timing for timing in timings}
    share = by_name['run'].speedup
    slower = min(1.0, by_name['PNG encoding, 2 threads'].speedup)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    title = f'{name} ({parameters / 1e6:.2f} million parameters), {count} images of 160x120, x4'
    text = format_table(title, timings, 'forward loop')
    text += f'\nrun: {share:.2f} of the forward loop, {share / slower:.2f} of the slower of forward loop and encoding\n'
    return text, [{'name': name, 'count': count, 'of forward loop': share, 'of the slower': share / slower}]


def _fresh_folders(folder: Path) -> Iterator[Path]:
    index = 0
    while True:
        yield folder / f'run{index}'
        index += 1


class _Doubler:
    """A victim that takes no time."""

    name, scale, fingerprint = 'doubler', 2, 'doubler'
    first: float | None = None

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Each pixel four times."""
        self.first = self.first or time.perf_counter()
        return [image.repeat(2, 0).repeat(2, 1) for image in images]


def _resume(count: int, folder: Path) -> tuple[str, dict[str, object]]:
    """From the start of a run to its first query, over a ledger with so many settled ones."""
    output = folder / 'resume'
    source = _fill(count, output)
    for index in range(8):
        (source / f'zz{index}.png').write_bytes(encode_png(_numbered(count + index)))
    victim = _Doubler()
    start = time.perf_counter()
    images = image_references(source)
    run_queries(victim, images, output / 'queries')
    assert victim.first is not None
    begun, ended = victim.first - start, time.perf_counter() - start
    start = time.perf_counter()
    run_queries(victim, image_references(source), output / 'queries')
    again = time.perf_counter() - start
    text = (
        f'### A ledger of {count} settled queries\n\nfirst query after {begun:.2f} s, 8 new ones and the query set '
        f'built after {ended:.2f} s; with nothing to do, done after {again:.2f} s\n'
    )
    return text, {'name': 'resume', 'count': count, 'first query': begun, 'all': ended, 'nothing to do': again}


def _numbered(index: int) -> np.ndarray:
    """An image of its own for each number."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[0, :4, 0] = list(index.to_bytes(4, 'little'))
    return image


def _fill(count: int, output: Path) -> Path:
    """A ledger as a run over so many images leaves it, made without waiting for the disk each time."""
    source = output / 'images'
    source.mkdir(parents=True)
    victim = _Doubler()
    with Ledger(ledger_folder(output / 'queries')) as ledger:
        claim(ledger, victim)
        rows = []
        for index in range(count):
            image = _numbered(index)
            data, answer = encode_png(image), image.repeat(2, 0).repeat(2, 1)
            response = encode_png(answer)
            (source / f'{index:06d}.png').write_bytes(data)
            files = ledger.pair(index + 1)
            files[0].parent.mkdir(parents=True, exist_ok=True)
            files[0].write_bytes(data)
            files[1].write_bytes(response)
            rows.append((index + 1, hash_array(image), hash_array(answer), len(data), len(response)))
        with ledger.transaction() as db:
            db.executemany(
                'INSERT INTO queries (id, hash, state, response, height, width, query_bytes, response_bytes) '
                "VALUES (?, ?, 'settled', ?, 16, 16, ?, ?)",
                rows,
            )
            db.executemany(
                "INSERT INTO attempts (query, charged, started, ended, outcome) VALUES (?, 1, 0, 0, 'settled')",
                ((row[0],) for row in rows),
            )
            db.execute('UPDATE account SET spent = ?', (count,))
    # The first run reads each image once; the one that is timed finds them known.
    run_queries(victim, image_references(source), output / 'queries')
    return source


_WATCHED = """
import resource, sys
from pathlib import Path
from mea_plugin.benchmarks.query import _Doubler
from mea_plugin.data.sources import image_references
from mea_plugin.query import run_queries

class Watched(_Doubler):
    count, marks = 0, {}
    def query(self, images):
        self.count += len(images)
        for mark in (total // 5, total * 9 // 10):
            if self.count >= mark and mark not in self.marks:
                self.marks[mark] = resident()
        return super().query(images)

def resident():
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 2**20

total = int(sys.argv[2])
victim = Watched()
run_queries(victim, image_references(sys.argv[1]), Path(sys.argv[1]).parent / 'out' / 'queries')
print(*victim.marks.values())
"""


def _memory(count: int, folder: Path) -> tuple[str, dict[str, object]]:
    """Resident memory of a process at a fifth of a run and at its end."""
    source = folder / 'memory' / 'images'
    source.mkdir(parents=True)
    for index in range(count):
        (source / f'{index:06d}.png').write_bytes(encode_png(_numbered(index)))
    command = [sys.executable, '-c', _WATCHED, str(source), str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    early, late = map(float, ended.stdout.splitlines()[-1].split())
    text = f'### Memory over {count} small queries\n\n{early:.1f} MiB after a fifth, {late:.1f} MiB at the end\n'
    return text, {'name': 'memory', 'count': count, 'early MiB': early, 'late MiB': late}
