# The CycleGAN surrogate with the wavelet penalty in both directions, and SAM on the discriminators, as the paper has it;
# both passes of a step see the same fakes. (cyclegan_paper.py: different ones, as the paper's code has it.)
_base_ = ['./cyclegan_baseline.py']

model = dict(hf_loss=dict(type='HighFrequencyLoss', loss_weight=0.15, wave='db3', level=2), hf_schedule='lr')
optim_wrapper = dict(
    discriminators=dict(
        type='SAMOptimWrapper',
        optimizer=dict(type='SAM', base_optimizer='Adam', rho=0.05, adaptive=False, weight_decay=5e-4),
    )
)
