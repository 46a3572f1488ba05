"""What the project adds to `kedro` for the versions in its catalog."""
