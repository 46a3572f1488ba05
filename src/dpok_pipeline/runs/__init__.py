"""Identity, journal, work folders and retention of runs, and the runner that continues them."""
