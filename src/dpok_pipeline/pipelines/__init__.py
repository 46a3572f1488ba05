"""The Kedro pipelines: thin nodes around the engine."""
