"""Nodes side by side: worker processes on this machine, and the runner that keeps them busy."""
