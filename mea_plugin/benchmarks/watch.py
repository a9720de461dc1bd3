"""How often the detector of query streams raises a false alarm, and how soon it notices attackers: on real images.

``python -m mea_plugin.benchmarks.watch FOLDER`` prints the table of docs/defences.md. Ordinary customers are simulated:
each has a theme, an image drawn at random, and sends 25 images, those that look like it more often than others
(``--theme``). One half of the images is for the customers that the detector is calibrated on, the other half for those
that it is measured on, and for attackers. Queries until the alarm are a median, over those who are noticed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mea_plugin.data.sources import image_references, read_shrunk
from mea_plugin.serving.watch import Calibration, StreamDetector, calibrate
from mea_plugin.serving.watch.drift import content_features

__all__ = ['attackers', 'ordinary_customers', 'until_alarm']

Image = np.ndarray
QUERIES = 25


def ordinary_customers(
    images: Sequence[Image], count: int, generator: np.random.Generator, *, theme: float
) -> list[list[Image]]:
    """Streams of ordinary customers.

    Args:
        images: What there is to send.
        count: How many customers.
        generator: Random numbers.
        theme: How alike a customer's images are: each is drawn, without repetition, with probability proportional to
            ``exp(-theme d)``, with ``d`` the distance of its standardised features to those of the customer's first.
    """
    features = np.array([content_features(image) for image in images])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    found = []
    for _ in range(count):
        first = generator.integers(len(images))
        weights = np.exp(-theme * np.linalg.norm(features - features[first], axis=1))
        chosen = generator.choice(len(images), QUERIES, replace=False, p=weights / weights.sum())
        found.append([images[index] for index in chosen])
    return found


def attackers(
    images: Sequence[Image], others: Sequence[Image] = ()
) -> dict[str, Callable[[np.random.Generator], list[Image]]]:
    """What makes an attacker's stream, by what such an attacker does.

    Args:
        images: Of the kind that customers send.
        others: Of another kind.
    """

    def crops(generator: np.random.Generator, sources: int) -> list[Image]:
        chosen = [images[index] for index in generator.choice(len(images), sources, replace=False)]
        return [_crop(chosen[number % sources], generator) for number in range(2 * QUERIES)]

    def altered(generator: np.random.Generator) -> list[Image]:
        chosen = [images[index] for index in generator.choice(len(images), 5, replace=False)]
        return [_noisy(chosen[number % 5], generator) for number in range(2 * QUERIES)]

    def patterns(generator: np.random.Generator) -> list[Image]:
        return [_pattern(images[0].shape, generator) for _ in range(2 * QUERIES)]

    def once(of: Sequence[Image], generator: np.random.Generator) -> list[Image]:
        return [of[index] for index in generator.choice(len(of), min(len(of), 2 * QUERIES), replace=False)]

    another = {'another kind of images, each once': lambda generator: once(others, generator)} if others else {}
    return {
        'crops of one image': lambda generator: crops(generator, 1),
        'crops of ten images': lambda generator: crops(generator, 10),
        'five images, over and over, with noise': altered,
        'synthetic patterns': patterns,
        **another,
        'images as customers send, each once': lambda generator: once(images, generator),
    }


def until_alarm(stream: Sequence[Image], calibration: Calibration) -> int | None:
    """After how many queries the score reaches 1; None if it does not."""
    detector = StreamDetector(calibration, capacity=4096)
    for number, image in enumerate(stream, 1):
        if detector.observe(0, image).score >= 1:
            return number
    return None


def _crop(image: Image, generator: np.random.Generator) -> Image:
    height, width = (int(0.7 * side) for side in image.shape[:2])
    top, left = generator.integers(0, image.shape[0] - height + 1), generator.integers(0, image.shape[1] - width + 1)
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _noisy(image: Image, generator: np.random.Generator) -> Image:
    return np.clip(image + generator.normal(0, 2, image.shape), 0, 255).round().astype(np.uint8)


def _pattern(shape: tuple[int, ...], generator: np.random.Generator) -> Image:
    """Smooth noise of a random scale."""
    scale = float(generator.uniform(0.5, 8))
    field = cv2.GaussianBlur(generator.normal(0, 1, shape), (0, 0), scale)
    return np.clip(128 + 60 * field / field.std(), 0, 255).astype(np.uint8)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='images, or a glob: 100 or more')
    parser.add_argument('--other', help='images of another kind')
    parser.add_argument('--shrink', type=int, default=1)
    parser.add_argument('--theme', type=float, default=1.0)
    parser.add_argument('--customers', type=int, default=200, help='to calibrate on, and to measure on')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    generator = np.random.default_rng(args.seed)
    images, others = (
        list(read_shrunk(image_references(folder).values(), args.shrink)) if folder else []
        for folder in (args.folder, args.other)
    )
    order = generator.permutation(len(images))
    learnt, other = ([images[index] for index in part] for part in np.array_split(order, 2))
    calibrating = ordinary_customers(learnt, args.customers, generator, theme=args.theme)
    measured = ordinary_customers(other, args.customers, generator, theme=args.theme)
    rates = (0.01, 0.05)
    calibrations = {rate: calibrate(calibrating, false_alarm=rate) for rate in rates}
    print('| stream | ' + ' | '.join(f'alarm at a rate of {rate:g}' for rate in rates) + ' | queries until then |')
    print('|---|' + '---:|' * (len(rates) + 1))
    streams = {'ordinary': measured}
    streams |= {name: [make(generator) for _ in range(40)] for name, make in attackers(other, others).items()}
    for name, of in streams.items():
        found = {rate: [until_alarm(stream, calibrations[rate]) for stream in of] for rate in rates}
        shares = [f'{sum(one is not None for one in found[rate])} of {len(of)}' for rate in rates]
        noticed = [one for one in found[rates[0]] if one is not None]
        after = f'{np.median(noticed):.0f}' if noticed else '-'
        print(f'| {name} | {" | ".join(shares)} | {after} |', flush=True)


if __name__ == '__main__':
    main()
