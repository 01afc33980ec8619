"""Units at work: cohorts, swarms and surfaces, each from checkpoint to checkpoint.

A unit, its data, a sink and a clock come in; rows and saved states go to the sink. Nothing here knows a folder, an
executor or another unit.
"""
