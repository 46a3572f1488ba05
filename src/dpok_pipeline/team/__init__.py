"""One training by several processes: who computes what, and how the parts become one result."""
