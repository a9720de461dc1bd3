# The paper's reference configuration to the letter of its published code: the discriminators' second pass sees fakes of
# the updated generators and draws from the image pool again, so that SAM's two gradients are those of different data.
_base_ = ['./cyclegan_proposed.py']

model = dict(paper_discriminator_step=True)
