"""The commands that make models of studies, and predictions with them."""
