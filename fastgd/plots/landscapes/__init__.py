"""Pictures of landscapes: contour maps, surfaces, basins, traces and animations.

Results come in, matplotlib figures go out.
"""
