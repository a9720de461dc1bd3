# A pix2pix surrogate trained on a query set: U-Net-256, 70x70 PatchGAN, L1. The baseline: no penalty, plain Adam.
#   python tools/train_mmagic.py options/mmagic/pix2pix_baseline.py \
#       --cfg-options train_dataloader.dataset.data_root=results/my_extraction/queries
_base_ = ['mmagic::pix2pix/pix2pix_vanilla-unet-bn_1xb1-80kiters_facades.py']
custom_imports = dict(imports=['mea_plugin.mmagic'], allow_failed_imports=False)

data_root = 'results/my_extraction/queries'
images = 1000  # in the query set; decides how many iterations 200 epochs are
batch_size = 16
max_iters = 200 * images // batch_size

keys = ['img_query', 'img_response']
model = dict(
    type='ExtractionPix2Pix',
    default_domain='response',
    reachable_domains=['response'],
    related_domains=['query', 'response'],
    data_preprocessor=dict(data_keys=keys),
)
train_pipeline = [
    dict(type='LoadCachedImageFromFile', key='img_query', channel_order='rgb'),
    dict(type='LoadCachedImageFromFile', key='img_response', channel_order='rgb'),
    dict(type='Resize', keys=keys, scale=(286, 286), interpolation='bicubic'),
    dict(type='FixedCrop', keys=keys, crop_size=(256, 256)),  # one random position for both
    dict(type='Flip', keys=keys, direction='horizontal'),
    dict(type='PackInputs', keys=keys, data_keys=keys),
]
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(_delete_=True, type='QuerySetDataset', data_root=data_root, pipeline=train_pipeline),
)
# The weight decay of the reference belongs to its SAM; its plain Adam has none.
adam = dict(type='Adam', lr=2e-4, betas=(0.5, 0.999))
optim_wrapper = dict(generators=dict(optimizer=adam), discriminators=dict(optimizer=adam))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
randomness = dict(_delete_=True, seed=2022, diff_rank_seed=True)

# Fidelity is measured afterwards, by tools/evaluate.py; the configs in validated/ measure it while they train, too.
val_cfg = val_dataloader = val_evaluator = test_cfg = test_dataloader = test_evaluator = None
custom_hooks = []
default_hooks = dict(
    checkpoint=dict(_delete_=True, type='CheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=3)
)
