"""The units of work of a plan: cohorts, swarms and surfaces, with the methods that they share.

What a study and its data decide comes in; values that can be pickled and weigh little go out. Nothing here runs.
"""
