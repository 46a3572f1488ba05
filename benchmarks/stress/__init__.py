"""Real processes, killed and starved of disk: `python -m benchmarks.stress PART`."""
