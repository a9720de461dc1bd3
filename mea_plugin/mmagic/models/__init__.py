"""The models that train a surrogate in MMagic, and the steps they are made of."""
