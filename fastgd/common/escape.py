"""Text that comes from files, made safe for where it is shown: one function for each place.

The names of problems, files and columns, and messages that quote them, may hold anything: sequences that move a
terminal's cursor or rename its window, marks that turn the direction of writing, formulas that end a picture.
"""


def for_terminal(text: str) -> str:
    """Return a line of text in which characters that do not print, line breaks included, are escape sequences."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def for_picture(text: str) -> str:
    """Return a line of text that matplotlib shows as it is: a dollar sign, which would begin a formula, is escaped."""
    return for_terminal(text).replace("$", r"\$")
