# The EDSR surrogate with a validation that logs fidelity to the victim and task quality side by side, from one pass over
# Set5. Asking the victim about the five images costs five queries:
#   python tools/prepare_data.py benchmark --input IMAGES_OF_SET5 --scale 4 --output datasets/Set5
#   python tools/query.py -opt MY_EXTRACTION.yml --images datasets/Set5/LRx4 --output results/my_extraction/Set5
# LPIPS is NaN until the folder that MEA_METRIC_WEIGHTS names holds AlexNet's weights (or weights='FOLDER').
_base_ = ['../edsr_x4_proposed.py']

val_pipeline = [dict(type='LoadImageFromFile', key=key, channel_order='rgb') for key in ('img', 'victim', 'gt')]
val_pipeline.append(dict(type='PackInputs', data_keys=['victim']))
val_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='FidelityDataset',
        img='datasets/Set5/LRx4',
        victim='results/my_extraction/Set5/queries/response',
        gt='datasets/Set5/HR',
        pipeline=val_pipeline,
    ),
)
fidelity = dict(gt_key='victim', prefix='fidelity')
quality = dict(gt_key='gt_img', prefix='quality')
val_evaluator = [
    dict(type='MEAPSNR', crop_border=4, convert_to='Y', **fidelity),
    dict(type='MEASSIM', crop_border=4, convert_to='Y', **fidelity),
    dict(type='HFPSNR', crop_border=4, **fidelity),
    dict(type='WorstPatchPSNR', crop_border=4, **fidelity),
    dict(type='SpectrumError', crop_border=4, **fidelity),
    dict(type='LPIPS', **fidelity),
    dict(type='MEAPSNR', crop_border=4, convert_to='Y', **quality),
    dict(type='MEASSIM', crop_border=4, convert_to='Y', **quality),
    dict(type='LPIPS', **quality),
]
val_cfg = dict(_delete_=True, type='MultiValLoop')
train_cfg = dict(val_interval=5000)
default_hooks = dict(checkpoint=dict(save_best='fidelity/PSNR', rule='greater'))
