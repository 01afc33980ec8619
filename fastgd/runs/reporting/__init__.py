"""What a run tells while it works: events, who receives them, and the display on a terminal.

Events come in, lines on standard error go out. A run never waits for them.
"""
