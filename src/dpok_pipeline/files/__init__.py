"""Files that are either whole or absent, and the record of what they were made from."""
