"""Speed and memory of the engine, each beside the limit it is measured against."""
