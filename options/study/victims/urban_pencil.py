# A style victim that is a network: a small ResNet generator (CycleGAN's), trained as in pix2pix on buildings and their
# pencil sketches, which urban_pencil_data.yml makes.
#   python tools/train_mmagic.py options/study/victims/urban_pencil.py
_base_ = ['../../mmagic/pix2pix_baseline.py']

max_iters = 3000
keys = ['img_query', 'img_response']
model = dict(
    generator=dict(
        _delete_=True,
        type='ResnetGenerator',
        in_channels=3,
        out_channels=3,
        base_channels=20,
        norm_cfg=dict(type='IN'),
        use_dropout=False,
        num_blocks=4,
        padding_mode='reflect',
        init_cfg=dict(type='normal', gain=0.02),
    ),
    discriminator=dict(base_channels=16, num_conv=2),
)
train_pipeline = [
    dict(type='LoadCachedImageFromFile', key='img_query', channel_order='rgb'),
    dict(type='LoadCachedImageFromFile', key='img_response', channel_order='rgb'),
    dict(type='FixedCrop', keys=keys, crop_size=(96, 96)),
    dict(type='Flip', keys=keys, direction='horizontal'),
    dict(type='PackInputs', keys=keys, data_keys=keys),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='results/study/victims/urban_pencil_data/queries', pipeline=train_pipeline),
)
optim_wrapper = dict(generators=dict(optimizer=dict(lr=1e-3)))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=500))
