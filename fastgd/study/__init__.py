"""Studies: the file and its models, the plan of cohorts, the run, and the events it reports."""
