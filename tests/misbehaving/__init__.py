"""Rewards of a careless user, each of which does one thing that a reward must not do."""
