"""Reports: results as one page of HTML that opens without a network, to be sent to someone who has no fastgd.

Results come in, one file goes out. Its tables, curves and words are made from what is stored; nothing is computed anew.
The package is not called `report`, since `fastgd.report` is the function.
"""

from fastgd.reports.report import INSTALL, is_possible, report

__all__ = ["INSTALL", "is_possible", "report"]
