"""SAM in MMEngine: optimizer wrappers, and the distributed wrapper of models whose step runs two passes."""
