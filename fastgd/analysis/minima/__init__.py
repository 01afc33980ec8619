"""How low each objective of a study can get: certified minima that are stored, or the least loss that was seen.

A `StoredStudy` comes in, a table of objectives goes out, or curves with their gaps. What is certified was solved by
`fastgd.optima`; nothing is solved here.
"""
