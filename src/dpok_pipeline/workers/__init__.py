"""Nodes side by side: worker processes, here or on a Ray cluster, and the runner of them."""
