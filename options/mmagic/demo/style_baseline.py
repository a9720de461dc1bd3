# The style demo's surrogate (`make demo-style`): the small pix2pix, with an augmentation that suits its victim.
_base_ = ['../small/pix2pix_baseline.py']

max_iters = 600
keys = ['img_query', 'img_response']
model = dict(generator=dict(num_down=5, base_channels=16))
train_pipeline = [
    dict(type='LoadCachedImageFromFile', key='img_query', channel_order='rgb'),
    dict(type='LoadCachedImageFromFile', key='img_response', channel_order='rgb'),
    dict(type='FixedCrop', keys=keys, crop_size=(128, 128)),
    dict(type='Flip', keys=keys, direction='horizontal'),
    # OpenCV's stylization treats the channels alike, to the bit; most of the queries are grey or brown.
    dict(type='RandomChannelOrder', keys=keys),
    dict(type='PackInputs', keys=keys, data_keys=keys),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
