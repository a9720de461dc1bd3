"""The models that train a surrogate in BasicSR, and the steps they are made of."""
