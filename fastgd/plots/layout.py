"""Where the panels of a picture stand: matplotlib's constrained layout, with the same bits in every process."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

_GRID = 2.0**24  # places of a figure's width or height: a coarser one than rounding errors, a finer one than pixels


class Layout(ConstrainedLayoutEngine):
    """The constrained layout, on a grid.

    Its solver adds terms up in the order of their addresses in memory, so that the last bits of a panel's edges differ
    from process to process, and with them here and there a digit or a pixel of a file. Lengths of text are whole
    fractions of a pixel, which lie on a binary grid or far from the middle between two of its places.
    """

    def execute(self, fig: Figure) -> Any:
        """Lay out a figure."""
        found = super().execute(fig)
        _round_parts(fig)
        for axes in fig.axes:
            laid_out = axes.get_in_layout()
            axes.set_position(_rounded(axes.get_position(original=True)))
            axes.set_in_layout(laid_out)  # what is given a position leaves the layout
        return found


def _round_parts(figure: FigureBase) -> None:
    for part in figure.subfigs:
        part.bbox_relative.set_points(_rounded(part.bbox_relative).get_points())
        _round_parts(part)


def _rounded(box: Bbox) -> Bbox:
    return Bbox(np.round(box.get_points() * _GRID) / _GRID)
