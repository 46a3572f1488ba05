"""Kedro datasets the ecosystem lacks: finished folders, shards, model handles, previews."""
