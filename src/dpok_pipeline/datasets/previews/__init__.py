"""What kedro-viz shows of a dataset: small, fast, and nothing where there is nothing to show."""
