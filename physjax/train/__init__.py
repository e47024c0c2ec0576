"""One training run: its setup, step, devices, checkpoints and loop."""
