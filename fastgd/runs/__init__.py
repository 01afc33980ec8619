"""Units at work: a plan runs from checkpoint to checkpoint, and what it finds goes to the store.

A study, its data and a folder come in; stored results and events go out. Nothing here decides what a trial's numbers
are: the plan and the engine do.
"""
