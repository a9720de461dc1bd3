# A CycleGAN surrogate of a style that one thread trains in about a minute: it is shown queries and responses unpaired. The
# baseline: no penalty, plain Adam.
_base_ = ['../../mmagic/small/cyclegan_baseline.py']

max_iters = 200
optim_wrapper = dict(generators=dict(optimizer=dict(lr=1e-3)), discriminators=dict(optimizer=dict(lr=4e-4)))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=max_iters))
train_dataloader = dict(batch_size=2)
