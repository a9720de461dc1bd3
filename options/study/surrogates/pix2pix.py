# A pix2pix surrogate of a style that one thread trains in less than a minute. The baseline: no penalty, plain Adam.
_base_ = ['../../mmagic/small/pix2pix_baseline.py']

max_iters = 300
model = dict(generator=dict(num_down=5, base_channels=16))
optim_wrapper = dict(generators=dict(optimizer=dict(lr=2e-3)), discriminators=dict(optimizer=dict(lr=2e-4)))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=max_iters))
