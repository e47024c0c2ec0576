"""Weights from a file or a finished run: read, and given to a network to start from.

`safetensors` and `torchvision` read a kind of file each, `source` tells them apart, `match` lays
what they hold over the initial weights, and `given` is what a run knows of them.
"""
