"""Statistics, tables and figures: from records alone, and never with JAX."""
