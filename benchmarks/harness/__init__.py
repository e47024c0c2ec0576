"""What the benchmarks share: measuring in turns, and what is measured of physjax and of PyTorch."""
