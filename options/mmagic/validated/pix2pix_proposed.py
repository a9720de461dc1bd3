# The pix2pix surrogate with a validation on a second query set, which it is not trained on: fidelity to the victim's
# responses, and task quality as the distance to images of the style.
#   python tools/query.py -opt MY_EXTRACTION.yml --images datasets/val --output results/my_extraction/validation
# LPIPS, FID and KID are NaN until the folder that MEA_METRIC_WEIGHTS names holds their weights (or weights='FOLDER'). They
# need no network connection. FID and KID of fewer than some thousand images say little.
_base_ = ['../pix2pix_proposed.py']

keys = ['img_query', 'img_response']
val_pipeline = [
    dict(type='LoadCachedImageFromFile', key='img_query', channel_order='rgb'),
    dict(type='LoadCachedImageFromFile', key='img_response', channel_order='rgb'),
    dict(type='FixedCrop', keys=keys, crop_size=(256, 256), crop_pos=(0, 0)),  # the U-Net takes multiples of 256
    dict(type='PackInputs', keys=keys, data_keys=keys),
]
val_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='QuerySetDataset',
        data_root='results/my_extraction/validation/queries',
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
fidelity = dict(pred_key='fake_response', gt_key='img_response', prefix='fidelity')
quality = dict(pred_key='fake_response', target='datasets/style', prefix='quality')  # a folder of images
val_evaluator = [
    dict(type='MEAPSNR', **fidelity),
    dict(type='MEASSIM', **fidelity),
    dict(type='HFPSNR', **fidelity),
    dict(type='LPIPS', **fidelity),
    dict(type='MEAFID', **quality),
    dict(type='MEAKID', **quality),
]
val_cfg = dict(_delete_=True, type='MultiValLoop')
train_cfg = dict(val_interval=1000)
default_hooks = dict(checkpoint=dict(save_best='fidelity/PSNR', rule='greater'))
