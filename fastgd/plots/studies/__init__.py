"""Pictures of studies over data: curves, sensitivities, heatmaps, phases, schedules, rates.

Results come in, matplotlib figures go out.
"""
