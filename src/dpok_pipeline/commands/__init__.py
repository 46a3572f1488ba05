"""The commands that the project adds to `kedro`."""
