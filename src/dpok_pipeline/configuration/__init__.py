"""What conf/ says: experiments, methods, and the one file of `--env custom`."""
