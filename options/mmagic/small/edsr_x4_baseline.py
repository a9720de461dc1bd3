# An EDSR x4 surrogate small enough for a CPU: about a minute on 2 cores.
_base_ = ['../edsr_x4_baseline.py']

max_iters = 300
model = dict(generator=dict(mid_channels=16, num_blocks=4))
train_pipeline = [
    dict(type='LoadCachedImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadCachedImageFromFile', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=4)),
    dict(type='PairedRandomCrop', gt_patch_size=96),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=max_iters))
