"""A package, because torch-fidelity 0.4.0 installs one of this name, which processes that tests start would find."""
