# The style demo's surrogate with the wavelet penalty and SAM on the generator. As in the super-resolution demo, the
# paper's rho 0.05 is too much for a network this small and a training this short: of 0.002, 0.01 and 0.05 the first two
# did equally well on eight images of BSD100, which are neither queries nor test images here.
_base_ = ['./style_baseline.py']

model = dict(hf_loss=dict(type='HighFrequencyLoss', loss_weight=0.15, wave='db3', level=2), hf_schedule='lr')
optim_wrapper = dict(
    generators=dict(
        type='SAMOptimWrapper', optimizer=dict(type='SAM', base_optimizer='Adam', rho=0.01, adaptive=False)
    )
)
