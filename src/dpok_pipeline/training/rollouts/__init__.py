"""Rollouts: what every online algorithm does before it learns. Draw, decode, score, look."""
