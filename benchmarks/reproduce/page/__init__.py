"""docs/results.md: what the rows of figures say, claim by claim, as tables and curves."""
