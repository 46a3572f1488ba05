"""Figures of a comparison, and the look that they share."""
