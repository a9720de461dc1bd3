"""Speed of the loss and the optimizer beside their peers, as ratios measured in one run."""
