"""Are the p-values of a study what they say? Simulated studies without any effect.

``python -m mea_plugin.benchmarks.p_values`` prints the table of docs/studies.md. Differences of two methods are
``(seeds, images)``, normal, with mean 0: a part per seed, one per image, and one of each seed's image on its own, in
equal shares of the variance of the mean, or none. Shown is the share of p-values at or below a level, divided by the
level; 1 is right.
"""

from __future__ import annotations

import numpy as np

from mea_plugin.evaluation.statistics import paired_difference

__all__ = ['ratios']

LEVELS = (0.05, 0.005, 0.0005)
CASES = {
    'seeds': (0.0, 0.0),
    'seeds, and images alike': (1.0, 0.0),
    'seeds, and each image of each seed alike': (0.0, 1.0),
    'all three alike': (1.0, 1.0),
}
IMAGES = 34


def ratios(seeds: int, image_share: float, own_share: float, *, studies: int = 40_000, seed: int = 0) -> list[float]:
    """The share of p-values at or below each of :data:`LEVELS`, divided by it.

    Args:
        seeds: Of each study.
        image_share: Variance of the mean's part from images, as a multiple of that from seeds.
        own_share: Likewise, of the part from each seed's image on its own.
        studies: How many are simulated.
        seed: Of the simulation.
    """
    generator = np.random.default_rng(seed)
    by_image, own = np.sqrt(image_share * IMAGES / seeds), np.sqrt(own_share * IMAGES)
    zeros, found = np.zeros(IMAGES), np.empty(studies)
    for number in range(studies):
        differences = generator.standard_normal((seeds, 1)) + own * generator.standard_normal((seeds, IMAGES))
        differences += by_image * generator.standard_normal(IMAGES)
        found[number] = paired_difference(differences, zeros, resamples=2).p  # p does not depend on resamples
    return [float((found <= level).mean() / level) for level in LEVELS]


def main() -> None:
    """Print the table."""
    print(f'| seeds | what varies | {" | ".join(map(str, LEVELS))} |\n|---|---|{"---:|" * len(LEVELS)}')
    for seeds in (3, 5):
        for name, shares in CASES.items():
            cells = ' | '.join(f'{ratio:.3g}' for ratio in ratios(seeds, *shares))
            print(f'| {seeds} | {name} | {cells} |', flush=True)


if __name__ == '__main__':
    main()
