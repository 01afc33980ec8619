"""The study: a file of TOML, or keyword arguments, read into models and checked as a whole."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import ValidationError, model_validator

from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.common.parsing import from_toml
from fastgd.study.blocks import OptimizerBlock, Schedule
from fastgd.study.checking.checks import check
from fastgd.study.draws import with_laws
from fastgd.study.fields import METRICS
from fastgd.study.landscapes import LandscapeProblem, Starts
from fastgd.study.models import Problem, Record, Stop, StudyFields
from fastgd.study.raw.messages import input_error
from fastgd.study.raw.overrides import override
from fastgd.study.values import as_list, plain, refuse_malformed
from fastgd.user_code.imports import before_imports, refuse_import

__all__ = ["METRICS", "LandscapeProblem", "OptimizerBlock", "Problem", "Record", "Schedule", "Starts", "Stop", "Study"]

LANDSCAPE_CHECKPOINTS = 10  # the default number, where each step would be an epoch
LARGEST_FILE = 4_000_000  # bytes of a study file, since parsing TOML is slow


class Study(StudyFields):
    """A study: every trial that one file describes.

    The fields are the keys of the study file; grids and single values become lists. A wrong one raises InputError.

    Examples
    --------
    >>> study = Study(
    ...     name="rates",
    ...     epochs=5,
    ...     batch_size=64,
    ...     problem={"loss": "logistic", "dataset": "breast_cancer", "standardize": True},
    ...     optimizer=[{"name": "adam", "lr": {"log": [1e-4, 1e0], "num": 5}}],
    ... )
    >>> study.optimizer[0].hyper["lr"]
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """

    def __init__(self, **fields: Any) -> None:
        try:
            values = plain(fields)
        except RecursionError:
            raise InputError("the study's tables and lists are nested too deeply") from None
        self._fill(values)

    @classmethod
    def from_toml(cls, path: str | PathLike[str], set: Sequence[str] = (), *, plugins: bool = True) -> Self:
        """Read a study file.

        Parameters
        ----------
        path : path
            The TOML file. Relative paths in it start from its folder.
        set : sequence of str
            Values to replace, as "optimizer.0.lr=0.1".
        plugins : bool
            Whether modules that the study names ("module:Name") are imported, which runs what is in them; False:
            a study that names one is refused.

        Raises
        ------
        InputError
            The file cannot be read, or says something that is not valid: the file, the key and what would be valid.
        """
        with nullcontext() if plugins else before_imports(refuse_import):
            return cls.of_fields(*read_fields(path, set))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any], path: str | PathLike[str], overridden: Sequence[str] = ()) -> Self:
        """Return the study of a file's tables, as `read_fields` returns them."""
        study = cls.__new__(cls)
        study._fill(fields, file=str(path), folder=expanded(path).resolve().parent, overridden=overridden)
        return study

    def to_toml(self) -> str:
        """Return the study as a file with every key written out; reading it gives an equal study."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def _fill(
        self,
        fields: Mapping[str, Any],
        *,
        file: str | None = None,
        folder: Path | None = None,
        overridden: Sequence[str] = (),
    ) -> None:
        """Validate the fields into this instance, as pydantic's `__init__` does, but with fastgd's errors."""
        fields = _with_defaults(fields)
        try:
            refuse_malformed(fields)
            self.__pydantic_validator__.validate_python(with_laws(fields), self_instance=self, context=folder)
        except ValidationError as error:
            raise input_error(error, fields, file, overridden) from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check(self)
        return self


def read_fields(
    path: str | PathLike[str], set: Sequence[str] = ()
) -> tuple[dict[str, Any], str | PathLike[str], list[str]]:
    """Return the tables of a study file as they stand there, with values replaced; its path; and which were replaced.

    Nothing of it is checked, and nothing that it names is imported.
    """
    fields = _parse(expanded(path))
    overridden = override(fields, set)
    return fields, path, overridden


def require_study(found: object) -> None:
    """Refuse an argument that is no study, such as the path of one."""
    if not isinstance(found, Study):
        kind = type(found).__name__
        raise InputError(f"a fastgd.Study is needed, found {kind}: fastgd.Study.from_toml(path) reads a study file")


def _with_defaults(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a study's fields; on landscapes, where each step is an epoch, the default has few checkpoints."""
    problems, record = as_list(fields.get("problem")), fields.get("record", {})
    landscapes = all(isinstance(problem, Mapping) and "landscape" in problem for problem in problems)
    if not landscapes or not isinstance(record, Mapping) or "every" in record:
        return fields
    return {**fields, "record": {"every": {"log": LANDSCAPE_CHECKPOINTS}, **record}}


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise InputError(f"{path}: is larger than {LARGEST_FILE:,} bytes, and no study; long lists go into files")
        lines = text.decode("utf-8-sig")  # some editors write a byte order mark
        return from_toml(lines.replace("\r\n", "\n").replace("\r", "\n"))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text in UTF-8, as TOML is") from None
    except ValueError as error:
        raise InputError(f"{path}: is not valid TOML: {error}") from None
