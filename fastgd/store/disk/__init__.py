"""Files of results, one by one: how they are sealed, written whole or not at all, and read with a check.

Arrays and tables come in, files go out and back. What the files mean together is not known here.
"""
