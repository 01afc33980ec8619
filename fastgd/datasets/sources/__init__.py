"""Datasets by name and synthetic ones: what can be had without a file.

Keys come in, a dataset of plain arrays goes out. Each is the same on every machine.
"""
