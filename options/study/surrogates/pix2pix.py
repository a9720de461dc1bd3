# A pix2pix surrogate of a style that one thread trains in less than a minute. The baseline: no penalty, plain Adam.
_base_ = ['../../mmagic/small/pix2pix_baseline.py']

max_iters = 250
keys = ['img_query', 'img_response']
train_pipeline = [
    dict(type='LoadCachedImageFromFile', key='img_query', channel_order='rgb'),
    dict(type='LoadCachedImageFromFile', key='img_response', channel_order='rgb'),
    dict(type='FixedCrop', keys=keys, crop_size=(96, 96)),
    dict(type='Flip', keys=keys, direction='horizontal'),
    dict(type='PackInputs', keys=keys, data_keys=keys),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(generator=dict(num_down=5, base_channels=16))
optim_wrapper = dict(generators=dict(optimizer=dict(lr=4e-3)), discriminators=dict(optimizer=dict(lr=2e-4)))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=max_iters))
