"""DPOK: online policy gradient with KL regularisation (paper, Algorithm 1)."""
