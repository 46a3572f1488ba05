"""What every algorithm shares: the resumable loop, rollouts, checkpoints and the optimiser."""
