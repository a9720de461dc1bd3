"""The cached data set gives what BasicSR's own gives."""

import random

import pytest
import torch

import mea_plugin.basicsr  # noqa: F401 - registers
from tests.helpers import pair_folders


def items(kind, lq, gt, count=9, **options):
    from basicsr.data import build_dataset

    dataset = build_dataset({
        'name': 'x', 'type': kind, 'phase': 'train', 'scale': 4, 'dataroot_lq': str(lq), 'dataroot_gt': str(gt),
        'io_backend': {'type': 'disk'}, 'gt_size': 48, 'use_hflip': True, 'use_rot': True, **options,
    })  # fmt: skip
    random.seed(5)
    return dataset, [dataset[index % len(dataset)] for index in range(count)]


@pytest.mark.parametrize('options', [{}, {'phase': 'val'}, {'color': 'y'}, {'mean': [0.5] * 3, 'std': [0.5] * 3}])
@pytest.mark.parametrize('cache_mb', [0, 1024])
def test_it_gives_the_same_items(tmp_path, options, cache_mb):
    lq, gt = pair_folders(tmp_path)
    _, expected = items('PairedImageDataset', lq, gt, **options)
    dataset, found = items('CachedPairedImageDataset', lq, gt, cache_mb=cache_mb, **options)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours['lq'], theirs['lq'])
        assert torch.equal(ours['gt'], theirs['gt'])
        assert ours['gt_path'] == theirs['gt_path']
    assert len(dataset._cache) == (6 if cache_mb and not options else 0)


def test_it_gives_the_same_items_of_an_lmdb(tmp_path):
    lq, gt = pair_folders(tmp_path)
    lmdb = pytest.importorskip('lmdb')
    for folder in (lq, gt):
        with lmdb.open(f'{folder}.lmdb') as environment, environment.begin(write=True) as transaction:
            for path in folder.iterdir():
                transaction.put(path.stem.encode(), path.read_bytes())
        (folder.parent / f'{folder.name}.lmdb' / 'meta_info.txt').write_text(
            ''.join(f'{path.name} (1,1,3) 1\n' for path in folder.iterdir())
        )
    options = {'meta_info_file': str(tmp_path / 'names.txt')}  # BasicSR lists a folder in no order
    (tmp_path / 'names.txt').write_text(''.join(f'{name} (1,1,3)\n' for name in sorted(p.name for p in gt.iterdir())))
    _, expected = items('PairedImageDataset', lq, gt, **options)
    _, found = items('CachedPairedImageDataset', f'{lq}.lmdb', f'{gt}.lmdb', io_backend={'type': 'lmdb'})
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours['lq'], theirs['lq'])
        assert torch.equal(ours['gt'], theirs['gt'])
