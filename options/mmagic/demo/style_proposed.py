# The style demo's surrogate with the wavelet penalty and SAM on the generator.
_base_ = ['./style_baseline.py']

model = dict(hf_loss=dict(type='HighFrequencyLoss', loss_weight=0.15, wave='db3', level=2), hf_schedule='lr')
optim_wrapper = dict(
    generators=dict(
        type='SAMOptimWrapper', optimizer=dict(type='SAM', base_optimizer='Adam', rho=0.05, adaptive=False)
    )
)
