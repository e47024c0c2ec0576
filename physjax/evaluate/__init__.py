"""A trained network on images: probabilities, classification metrics, corruptions."""
