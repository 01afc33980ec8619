"""How lines look on the page: the colours of the pictures, with the names that Plotly has for dashes and symbols."""

from collections.abc import Sequence

from fastgd.common.escape import for_terminal
from fastgd.plots.style import Look, looks

_SYMBOLS = {
    **{"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down", "P": "cross", "X": "x"},
    **{"*": "star", "<": "triangle-left", ">": "triangle-right", "d": "diamond-tall", "p": "pentagon", "h": "hexagon"},
    **{"8": "octagon", "H": "hexagon2"},
}
_DASHES = {"solid": "solid", (0, (5, 1.5)): "dash", (0, (1.2, 1.2)): "dot", (0, (6, 1.5, 1.2, 1.5)): "dashdot"}


def looks_of(methods: Sequence[str]) -> list[dict[str, str]]:
    """Return the name, colour, dash and symbol of each optimizer, the same as in the study's pictures."""
    return [for_plotly(for_terminal(name), look) for name, look in looks(list(methods)).items()]


def for_plotly(name: str, look: Look) -> dict[str, str]:
    """Return a look in Plotly's words, with the name of what has it."""
    dash, symbol = _DASHES.get(look.linestyle, "solid"), _SYMBOLS.get(look.marker, "circle")
    return {"name": name, "color": look.color, "dash": dash, "symbol": symbol}
