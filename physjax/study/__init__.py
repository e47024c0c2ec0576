"""Many runs: the design of a study, its folder, its cost, and what carries it out."""
