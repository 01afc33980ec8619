"""Searches of learning rates and range tests: several ordinary studies, one after another.

A study comes in; folders of results and an answer that says which rates to use go out. Trials are run by `runs` alone.
"""
