"""Results on disk: the only part of fastgd that writes them."""

from fastgd.store.contents import Snapshot
from fastgd.store.folder import Folder
from fastgd.store.manifest import Manifest
from fastgd.store.schema import Columns, curves_schema, trials_schema
from fastgd.store.writer import PartWriter

__all__ = ["Columns", "Folder", "Manifest", "PartWriter", "Snapshot", "curves_schema", "trials_schema"]
