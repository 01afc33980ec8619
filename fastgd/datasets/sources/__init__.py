"""Datasets by name and synthetic ones: those that need no file.

A name or keys come in, a dataset of plain arrays goes out. It never depends on the machine.
"""
