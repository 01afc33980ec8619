"""What units of work take: seconds, operations, memory, and what is to be compiled.

Units come in, numbers go out. They decide no trial's numbers, only how much is done at a time.
"""
