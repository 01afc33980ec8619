"""What every part of fastgd shares and no part owns: errors, names, numbers in words, texts of files, the system.

Nothing here knows of studies, data or optimizers, and nothing imports Numba.
"""
