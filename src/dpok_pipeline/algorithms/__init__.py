"""The methods' algorithms: each folder is one, with its arithmetic and its configuration."""
