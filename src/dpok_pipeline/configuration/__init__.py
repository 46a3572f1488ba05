"""Reads conf/: experiments, methods, and the one file of `--env custom`."""
