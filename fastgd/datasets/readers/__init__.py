"""Readers of files and tables: csv, Parquet, Arrow IPC, svmlight, npz, and the tables of other libraries.

A path or a table comes in; a dataset of plain arrays goes out, or one message that names the file, the row and the
column. Readers never guess what a value means, and never split or scale rows.
"""
