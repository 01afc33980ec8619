"""Units at work on a Dask cluster: a coordinator sends them to workers, and commits what comes back."""
