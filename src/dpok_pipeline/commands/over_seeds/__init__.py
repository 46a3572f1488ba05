"""`kedro claims`: the comparison over several training seeds, in turn or side by side."""
