"""The commands that ask stored results: rankings, questions, and whether anything converges worse.

Options and results come in, answers are printed. Nothing is written.
"""
