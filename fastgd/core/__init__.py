"""What kernels are made of: the compiler with its cache, vectors of lanes, constants, threads, random numbers.

Python functions come in, machine code goes out. Nothing here knows of rules, losses, data or results.
"""
