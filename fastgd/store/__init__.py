"""Results on disk: the only part of fastgd that writes them."""

from fastgd.store.cohort import CohortWriter
from fastgd.store.contents import Contents
from fastgd.store.folder import Folder
from fastgd.store.manifest import Manifest
from fastgd.store.schema import Columns, curves_schema, trials_schema

__all__ = ["CohortWriter", "Columns", "Contents", "Folder", "Manifest", "curves_schema", "trials_schema"]
