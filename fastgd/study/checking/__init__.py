"""The checks of a study as a whole: what must hold between its parts.

Models that are valid by themselves come in; an error with the keys that do not fit goes out, or nothing.
"""
