"""Whether a results folder is what was written: every file, and how all of them fit together.

A folder comes in, findings go out, and a repair where it was asked for. Nothing is deleted, only set aside.
"""
