"""Datasets of prompts, from files of several formats and from the configuration."""
