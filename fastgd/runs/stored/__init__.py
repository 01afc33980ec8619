"""What is computed from results that are stored: minima, models, solutions, surfaces about them.

A folder with its study comes in; its data are loaded again, and what is found goes out or beside the results. No trial
of the study is changed.
"""
