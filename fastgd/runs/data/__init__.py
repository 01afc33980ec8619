"""The data of a study: its problems' rows, loaded and prepared, in memory or, where they do not fit there, in files."""
