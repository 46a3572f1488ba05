"""What every dataset was made from, and what was made of it, across all commands there were."""
