# An SRGAN x4 surrogate (SRResNet against a VGG discriminator) trained on a query set. The baseline: no penalty, plain Adam.
#   python tools/train_mmagic.py options/mmagic/srgan_x4_baseline.py \
#       --cfg-options train_dataloader.dataset.data_root=results/my_extraction/queries
_base_ = ['mmagic::srgan_resnet/srgan_x4c64b16_1xb16-1000k_div2k.py']
custom_imports = dict(imports=['mea_plugin.mmagic'], allow_failed_imports=False)

data_root = 'results/my_extraction/queries'
max_iters = 400_000
work_dir = None

model = dict(type='ExtractionSRGAN')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='BasicImageDataset',
        metainfo=dict(dataset_type='query_set', task_name='sisr'),
        data_root=data_root,
        data_prefix=dict(img='query', gt='response'),
        pipeline=_base_.train_pipeline,
    )
)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=max_iters)
train_cfg = dict(max_iters=max_iters)

# Fidelity is measured afterwards, by tools/evaluate.py; the configs in validated/ measure it while they train, too.
val_cfg = val_dataloader = val_evaluator = test_cfg = test_dataloader = test_evaluator = None
custom_hooks = []
default_hooks = dict(
    checkpoint=dict(_delete_=True, type='CheckpointHook', by_epoch=False, interval=5000, max_keep_ckpts=3)
)
