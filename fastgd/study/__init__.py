"""The study file and nothing else: its models, values, checks and messages.

TOML or keyword arguments come in; a `Study` that is right in itself goes out, or one message that names the key. No
data are read here, and nothing is planned or run.
"""
