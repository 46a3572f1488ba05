"""Needs an environment variable that nobody has set."""

import os

KEY = os.environ["A_VARIABLE_THAT_NOBODY_HAS_SET"]
