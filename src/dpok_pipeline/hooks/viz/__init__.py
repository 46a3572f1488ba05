"""What kedro-viz is told of a run."""
