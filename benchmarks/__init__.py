"""What is measured of the project: speed, memory, durability, parity, and its numbers."""
