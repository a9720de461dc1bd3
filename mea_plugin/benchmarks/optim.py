"""SAM beside a plain loop over parameters and beside its base optimizer: time and memory."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mea_plugin.benchmarks.timing import Timing, compare, format_table
from mea_plugin.optim import SAM

__all__ = ['run']

_LOOP, _OURS, _ADAM = 'loop over parameters', 'SAM of this package', 'Adam alone'
_WHOLE_STEPS = 5  # timed at most: one takes seconds


class LoopSAM:
    """The peer: SAM as it is commonly written, one parameter after the other, the copy of ``w`` in the state."""

    def __init__(self, params: Sequence[Tensor], rho: float = 0.05, **options: Any) -> None:
        self.params, self.rho = list(params), rho
        self.base_optimizer = torch.optim.Adam(self.params, **options)
        self.state: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def climb(self) -> None:
        """To ``w + rho * g / ||g||``."""
        grads = [param.grad for param in self.params if param.grad is not None]
        norm = torch.norm(torch.stack([grad.norm(p=2) for grad in grads]), p=2)
        scale = self.rho / (norm + 1e-12)
        for param in self.params:
            if param.grad is not None:
                self.state[param] = param.data.clone()
                param.add_(param.grad * scale)

    @torch.no_grad()
    def restore(self) -> None:
        """Back to ``w``."""
        for param in self.params:
            if param.grad is not None:
                param.data = self.state[param]

    def step(self) -> None:
        """The base step."""
        self.base_optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's, and the copy of ``w`` too: it is state like any other here."""
        return {'base': self.base_optimizer.state_dict(), 'state': list(self.state.values())}


class ResidualSR(nn.Module):
    """A x4 super-resolution network: residual blocks, two pixel shuffles; 1.5 million parameters by default."""

    def __init__(self, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.head = _conv(3, features)
        self.body = nn.ModuleList(
            nn.Sequential(_conv(features, features), nn.ReLU(), _conv(features, features)) for _ in range(blocks)
        )
        self.up = nn.Sequential(
            *(_conv(features, 4 * features), nn.PixelShuffle(2), nn.LeakyReLU(0.1)),
            *(_conv(features, 4 * features), nn.PixelShuffle(2), nn.LeakyReLU(0.1)),
        )
        self.tail = nn.Sequential(_conv(features, features), nn.LeakyReLU(0.1), _conv(features, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, 3, 4H, 4W)``."""
        hidden = torch.nn.functional.leaky_relu(self.head(x), 0.1)
        for block in self.body:
            hidden = hidden + block(hidden)
        base = torch.nn.functional.interpolate(x, scale_factor=4, mode='bilinear', align_corners=False)
        return self.tail(self.up(hidden)) + base


def run(rounds: int, quick: bool = False) -> tuple[str, list[dict[str, object]]]:
    """Measure everything in one run.

    Args:
        rounds: Timed rounds of each comparison; of whole training steps, at most 5.
        quick: Small networks, to see that it works; the numbers mean nothing.

    Returns:
        Markdown tables, and one JSON-able row per measurement.
    """
    network = ResidualSR(8, 2) if quick else ResidualSR()
    sizes: list[tuple[int, ...]] = [(64,)] * (50 if quick else 2000)
    problems: dict[str, list[tuple[int, ...]]] = {
        f'{_millions(network.parameters())} parameters in {len(list(network.parameters()))} tensors': [
            tuple(param.shape) for param in network.parameters()
        ],
        f'{len(sizes)} tensors of 64 numbers': sizes,
    }
    tables, rows = [], []
    for name, shapes in problems.items():
        for what, step in (('climb and restore', False), ('climb, restore and Adam step', True)):
            table, found = _arithmetic(f'{what}, {name}', shapes, step, rounds)
            tables.append(table)
            rows += found
    for part in (_whole_step(network, 2 if quick else 16, min(rounds, _WHOLE_STEPS)), _memory(network)):
        tables.append(part[0])
        rows += part[1]
    return '\n'.join(tables), rows


def _arithmetic(
    title: str, shapes: Sequence[tuple[int, ...]], step: bool, rounds: int
) -> tuple[str, list[dict[str, object]]]:
    """Time the arithmetic of a step on given gradients: ours, which also refuses non-finite ones, and the loop's."""

    def once(optimizer: Any) -> Callable[[], None]:
        def call() -> None:
            if not isinstance(optimizer, torch.optim.Adam):
                optimizer.climb()
                optimizer.restore()
            if step:
                optimizer.step()

        return call

    cases = {_LOOP: once(LoopSAM(_with_gradients(shapes))), _OURS: once(SAM(_with_gradients(shapes)))}
    if step:
        cases[_ADAM] = once(torch.optim.Adam(_with_gradients(shapes)))
    timings = compare(cases, _LOOP, rounds=rounds, warmup=3)
    return format_table(title, timings, f'the {_LOOP}'), [_row(title, timing) for timing in timings]


def _whole_step(network: nn.Module, batch: int, rounds: int) -> tuple[str, list[dict[str, object]]]:
    """Time whole training steps, and what of them is neither a pass nor the base optimizer."""
    x, y = torch.rand(batch, 3, 24, 24), torch.rand(batch, 3, 96, 96)
    sam = SAM(network.parameters(), lr=1e-5)
    adam = torch.optim.Adam(network.parameters(), lr=1e-5)
    spent: list[float] = []  # seconds of this step's passes and base step

    def closure() -> Tensor:
        start = time.perf_counter()
        network.zero_grad()
        loss = (network(x) - y).abs().mean()
        loss.backward()
        spent.append(time.perf_counter() - start)
        return loss

    started: list[float] = []
    sam.base_optimizer.register_step_pre_hook(lambda *_: started.append(time.perf_counter()))
    sam.base_optimizer.register_step_post_hook(lambda *_: spent.append(time.perf_counter() - started.pop()))
    shares, own_ms, ratios = [], [], []
    for index in range(rounds + 1):
        spent.clear()
        total = _seconds(lambda: sam.step(closure))
        own = total - sum(spent)
        plain = _seconds(lambda: adam.step(closure))
        if index:  # the first is a warm-up
            shares.append(own / total)
            own_ms.append(1e3 * own)
            ratios.append(total / plain)
    row: dict[str, object] = {
        'title': f'whole step, batch {batch}, 24-pixel crops',
        'own_share_percent': 100 * statistics.median(shares),
        'own_ms': statistics.median(own_ms),
        'times_the_adam_step': statistics.median(ratios),
    }
    text = (
        f'### {row["title"]}, {_millions(network.parameters())} parameters\n\n'
        '| | |\n|---|---:|\n'
        f"| SAM's own arithmetic, share of its step | {row['own_share_percent']:.2f} % |\n"
        f"| SAM's own arithmetic, ms | {row['own_ms']:.2f} |\n"
        f'| SAM step, times an Adam step | {row["times_the_adam_step"]:.2f} |\n'
    )
    return text, [row]


def _memory(network: nn.Module) -> tuple[str, list[dict[str, object]]]:
    """Bytes beyond the base optimizer's, in copies of the parameters."""
    shapes = [tuple(param.shape) for param in network.parameters()]
    rows: list[dict[str, object]] = []
    builds: dict[str, Any] = {_LOOP: LoopSAM, _OURS: SAM}
    for name, build in builds.items():
        params = _with_gradients(shapes)
        size = sum(param.numel() * param.element_size() for param in params)
        adam = torch.optim.Adam(_with_gradients(shapes))
        adam.step()
        optimizer = build(params)
        optimizer.base_optimizer.step()

        def climb_and_restore(optimizer: Any = optimizer) -> None:
            optimizer.climb()
            optimizer.restore()

        first = _peak_bytes(climb_and_restore)
        again = _peak_bytes(climb_and_restore)
        saved = _tensor_bytes(optimizer.state_dict()) - _tensor_bytes(adam.state_dict())
        rows.append(
            {
                'title': 'memory, copies of the parameters',
                'name': name,
                'first_step_peak': first / size,
                'allocated_by_a_later_step': again / size,
                'in_the_state_dict': saved / size,
            }
        )
    head = '### memory beyond Adam, in copies of the parameters\n\n| | first step, peak | a later step allocates | '
    text = head + 'in the state dict |\n|---|---:|---:|---:|\n'
    for row in rows:
        text += f'| {row["name"]} | {row["first_step_peak"]:.2f} | {row["allocated_by_a_later_step"]:.2f} | '
        text += f'{row["in_the_state_dict"]:.2f} |\n'
    return text, rows


def _peak_bytes(call: Callable[[], object]) -> int:
    """The highest number of bytes that ``call`` holds above what was held before it, on the CPU."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what newer profilers say about cycles, of which there is one
        with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            call()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'trace.json'
        profile.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding='utf-8'))['traceEvents']
    changes = sorted((event for event in events if event.get('name') == '[memory]'), key=lambda event: event['ts'])
    return max(accumulate((event['args']['Bytes'] for event in changes), initial=0))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _with_gradients(shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Parameters of these shapes, with gradients."""
    params: list[Tensor] = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def _tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(_tensor_bytes(item) for item in value.values())
    return sum(_tensor_bytes(item) for item in value) if isinstance(value, (list, tuple)) else 0


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _millions(params: Any) -> str:
    return f'{sum(param.numel() for param in params) / 1e6:.2f} million'


def _row(title: str, timing: Timing) -> dict[str, object]:
    return {'title': title, **timing._asdict()}
