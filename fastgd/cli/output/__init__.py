"""What the command line prints: tables on terminals, and text, JSON, CSV, Markdown or LaTeX.

Tables and values come in, text goes out. Nothing here knows a command.
"""
