# A pix2pix surrogate small enough for a CPU: 128 pixels, a minute on 2 cores.
_base_ = ['../pix2pix_baseline.py']

max_iters = 400
keys = ['img_query', 'img_response']
model = dict(
    generator=dict(num_down=6, base_channels=24, use_dropout=False),
    discriminator=dict(base_channels=16, num_conv=2),
)
train_pipeline = [
    dict(type='LoadCachedImageFromFile', key='img_query', channel_order='rgb'),
    dict(type='LoadCachedImageFromFile', key='img_response', channel_order='rgb'),
    dict(type='FixedCrop', keys=keys, crop_size=(128, 128)),
    dict(type='Flip', keys=keys, direction='horizontal'),
    dict(type='PackInputs', keys=keys, data_keys=keys),
]
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
optim_wrapper = dict(generators=dict(optimizer=dict(lr=2e-3)))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=max_iters))
