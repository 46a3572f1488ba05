"""DPOK and its supervised baseline, with neither Kedro nor MLflow."""
