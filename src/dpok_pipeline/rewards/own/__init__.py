"""Scorers of a user's own: how they are loaded, and which code they are made of."""
