"""The Kedro pipelines, whose nodes are thin wrappers around the engine."""
