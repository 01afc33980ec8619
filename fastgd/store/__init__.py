"""Results on disk, in Parquet files that are committed part by part: the only part of fastgd that writes them.

Tables of trials, curves and parameters come in; files go out, and their rows when they are read back. Nothing is
computed here, and no file is deleted that fastgd did not write to its place.
"""

from fastgd.store.contents import Contents
from fastgd.store.folder import Folder
from fastgd.store.manifest import Manifest
from fastgd.store.schema import Columns
from fastgd.store.writer import PartWriter

__all__ = ["Columns", "Contents", "Folder", "Manifest", "PartWriter"]
