"""Kedro datasets that kedro-datasets lacks: finished folders, shards, models and previews."""
