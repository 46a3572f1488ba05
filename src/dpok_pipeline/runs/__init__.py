"""What a run is made from, how far it has come, and what is kept of it."""
