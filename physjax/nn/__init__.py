"""Flax modules: the physics layer and what a learning rule may change in it; folding it away."""
