"""Thousands of inputs that somebody could have got wrong, new ones each time."""
