"""From a study and its data to units of work, their names, their memory and their costs.

The study file and the shape of the data come in, a plan goes out. Planning is pure: it opens no folder for writing,
compiles nothing, and does not depend on threads or on the machine's load.
"""
