# A CycleGAN surrogate trained on a query set whose pairs it is shown unpaired: ResNet-9, 70x70 PatchGAN, LSGAN, pool of
# 50. The baseline: no penalty, plain Adam.
_base_ = ['mmagic::cyclegan/cyclegan_lsgan-resnet-in_1xb1-80kiters_facades.py']
custom_imports = dict(imports=['mea_plugin.mmagic'], allow_failed_imports=False)

data_root = 'results/my_extraction/queries'
images = 1000  # in the query set; decides how many iterations 200 epochs are
batch_size = 16
max_iters = 200 * images // batch_size
cycle_weight = 10.0

# A query with its response, and another response with its query: each pair is augmented on its own.
first, second = ['img_query', 'paired_response'], ['img_response', 'paired_query']
model = dict(
    type='ExtractionCycleGAN',
    default_domain='response',
    reachable_domains=['response', 'query'],
    related_domains=['response', 'query'],
    buffer_size=50,
    # The reference's identity weight 0.5 is relative to the cycle's; MMagic's is not.
    loss_config=dict(cycle_loss_weight=cycle_weight, id_loss_weight=0.5 * cycle_weight),
    data_preprocessor=dict(data_keys=first + second),
)
train_pipeline = [
    *[dict(type='LoadCachedImageFromFile', key=key, channel_order='rgb') for key in first + second],
    dict(type='Resize', keys=first + second, scale=(286, 286), interpolation='bicubic'),
    dict(type='FixedCrop', keys=first, crop_size=(256, 256)),  # one random position for both
    dict(type='FixedCrop', keys=second, crop_size=(256, 256)),
    dict(type='Flip', keys=first, direction='horizontal'),
    dict(type='Flip', keys=second, direction='horizontal'),
    dict(type='PackInputs', keys=first + second, data_keys=first + second),
]
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(_delete_=True, type='QuerySetDataset', data_root=data_root, unpaired=True, pipeline=train_pipeline),
)
# The weight decay of the reference belongs to its SAM; its plain Adam has none.
adam = dict(type='Adam', lr=2e-4, betas=(0.5, 0.999))
optim_wrapper = dict(
    generators=dict(type='OptimWrapper', optimizer=adam), discriminators=dict(type='OptimWrapper', optimizer=adam)
)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=max_iters)
train_cfg = dict(max_iters=max_iters)

# Fidelity is measured afterwards, by tools/evaluate.py; the configs in validated/ measure it while they train, too.
val_cfg = val_dataloader = val_evaluator = test_cfg = test_dataloader = test_evaluator = None
custom_hooks = []
default_hooks = dict(
    checkpoint=dict(_delete_=True, type='CheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=3)
)
