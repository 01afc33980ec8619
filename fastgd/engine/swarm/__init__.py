"""Swarms: many starts of one rule on one landscape, a vector of lanes at a time.

A `SwarmSpec` with starts comes in; positions, values and slots go out. There are no rows here, and no order of them.
"""
