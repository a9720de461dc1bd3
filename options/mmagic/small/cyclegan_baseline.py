# A CycleGAN surrogate small enough for a CPU: 64-pixel crops, about a minute on 2 cores.
_base_ = ['../cyclegan_baseline.py']

max_iters = 200
first, second = ['img_query', 'paired_response'], ['img_response', 'paired_query']
model = dict(generator=dict(base_channels=8, num_blocks=3), discriminator=dict(base_channels=16, num_conv=2))
train_pipeline = [
    *[dict(type='LoadCachedImageFromFile', key=key, channel_order='rgb') for key in first + second],
    dict(type='FixedCrop', keys=first, crop_size=(64, 64)),
    dict(type='FixedCrop', keys=second, crop_size=(64, 64)),
    dict(type='Flip', keys=first, direction='horizontal'),
    dict(type='Flip', keys=second, direction='horizontal'),
    dict(type='PackInputs', keys=first + second, data_keys=first + second),
]
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=max_iters))
