"""Reward-weighted supervised fine-tuning, the paper's baseline (Algorithm 2)."""
