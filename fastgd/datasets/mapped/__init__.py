"""Rows that stay in files: files that are mapped as they are, a cache of others in a form that maps, and what is known
of them already.
"""
