"""The manifest of a results folder: which study it holds, with which data and versions, on which machine."""

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fastgd.common.errors import InputError, UnreadableError
from fastgd.common.parsing import fault_of, from_json, shortened
from fastgd.store.disk.files import write_text

# The version of the layout on disk and of how trial ids are made. Folders of earlier versions can be read, but never be
# extended: their trials have other ids, and would not be found.
SCHEMA, READABLE = 2, (1, 2)
LATER = ("folder", "parts", "surfaces", "shards", "trials")  # fields that manifests of earlier versions lack
CHECKSUM = "checksum"
WEIGHTED = "rows have weights"  # a note on arrays, which results do not hold
_FILE = re.compile(r"[0-9-]{4,64}\.parquet")
_OF_A_RUN = ("ended", "timings", "parts", "surfaces")  # not known yet when files are written


@dataclass(frozen=True)
class Manifest:
    """The provenance of a study's results.

    Parameters
    ----------
    name : str
        The study's name.
    study_hash : str
        Hash of the normalised study file.
    fingerprints : dict
        The fingerprint of each problem's data, by the problem's name.
    fastgd : str
        The version of fastgd.
    packages : dict
        The versions of the packages that the numbers depend on, numba among them.
    python, cpu : str
        The version of Python, the model of the processor.
    threads, simd_bits : int
        The threads used; the width of a vector register in bits.
    threading_layer : str
        Numba's threading layer.
    started : str
        When the last run that computed anything started (UTC, ISO 8601).
    ended : str or None
        When it ended; None while it runs and after an interruption.
    notes : tuple of str
        Notes on the data and on mixed versions.
    timings : dict
        Seconds of the last run that computed anything: load, plan, compile, train, evaluate, store.
    schema : int
        The version of the layout on disk.
    folder : str
        The random id of the results folder, which the footers of its files repeat. Earlier versions had none.
    parts : dict
        The trials files that counted when the last run ended, with the rows of each. Later there can only be more of
        them, or some of a newer generation.
    surfaces : list of str
        The files of surfaces that were there when the last run ended.
    shards : list of str
        Which shards of the study, "3/16", were run in the folder or merged into it; none, where it was run as a whole.
    trials : int
        How many trials the whole study has; 0 where it is not known.
    """

    name: str
    study_hash: str
    fingerprints: dict[str, str]
    fastgd: str
    packages: dict[str, str]
    python: str
    cpu: str
    threads: int
    simd_bits: int
    threading_layer: str
    started: str
    ended: str | None = None
    notes: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA
    folder: str = ""
    parts: dict[str, int] = field(default_factory=dict)
    surfaces: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    trials: int = 0

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a folder's manifest.

        Raises
        ------
        InputError
            There is none, it is damaged, or another version of the layout wrote it.
        """
        path = folder / "manifest.json"
        try:
            content = from_json(_content(path))
        except NotADirectoryError:
            raise InputError(f"{folder} is a file, and results are a folder, such as results/NAME") from None
        except FileNotFoundError:
            if any((folder / "trials").glob("*.parquet")):
                raise InputError(f"{path} is missing: restore it, or see `fastgd verify {folder} --repair`") from None
            raise InputError(f"{folder} holds no fastgd results: it has no manifest.json") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        except UnreadableError:
            raise
        except ValueError as error:
            raise _damaged(path, error) from error
        if isinstance(content, dict) and content.get(CHECKSUM, checksum_of(content)) != checksum_of(content):
            raise _damaged(path, "it does not match its checksum")
        return cls._parse(content, path)

    @classmethod
    def _parse(cls, content: Any, path: Path) -> "Manifest":
        found = content.get("schema") if isinstance(content, dict) else None
        if not isinstance(found, int) or found not in READABLE:
            raise InputError(f"{path} has schema {found!r}, and this fastgd reads schemas 1 and {SCHEMA}")
        if missing := [f.name for f in fields(cls) if f.name not in content and f.name not in LATER]:
            raise InputError(f"{path} is damaged: it lacks {missing[0]!r}")
        known = {f.name: content[f.name] for f in fields(cls) if f.name in content}
        if fault := fault_of(cls, known):
            raise _damaged(path, fault)
        named = (*known.get("parts", ()), *known.get("surfaces", ()))
        if odd := [name for name in named if not _FILE.fullmatch(name)]:
            raise _damaged(path, f"{shortened(odd[0])} is not the name of a file of results")
        return cls(**{**known, "notes": tuple(known["notes"])})

    def write(self, folder: Path) -> None:
        """Replace the folder's manifest."""
        content = asdict(self)
        content[CHECKSUM] = checksum_of(content)
        write_text(folder / "manifest.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def footer(self) -> dict[str, str]:
        """Return the metadata that the footer of each Parquet file repeats."""
        return {
            "fastgd.version": self.fastgd,
            "fastgd.schema": str(self.schema),
            "fastgd.study_hash": self.study_hash,
            "fastgd.fingerprints": json.dumps(self.fingerprints),
            "fastgd.folder": self.folder,
            "fastgd.manifest": json.dumps({k: v for k, v in asdict(self).items() if k not in _OF_A_RUN}),
        }

    @classmethod
    def from_footer(cls, text: str, path: Path) -> "Manifest":
        """Return the manifest that the footer of the part at `path` repeats, as of a run that has not ended."""
        try:
            content = from_json(text)
        except ValueError as error:
            raise _damaged(path, error) from error
        return cls._parse({**content, "ended": None, "timings": {}} if isinstance(content, dict) else content, path)

    def extending(self, previous: "Manifest", folder: Path, allow_mixed: bool) -> "Manifest":
        """Return this manifest as the extension of the previous one in the same folder.

        Raises
        ------
        InputError
            The folder holds another study or other data, or, unless `allow_mixed`, was computed by another fastgd,
            Numba or CPU model.
        """
        way_out = "choose another folder with --out, or --fresh to move the old one aside"
        if previous.schema != SCHEMA:
            raise InputError(
                f"{folder} has schema {previous.schema}, in which trials have other names than in this fastgd's schema "
                f"{SCHEMA}: it can be read (fastgd best, plot), and not be extended; {way_out}"
            )
        if self.name != previous.name:
            raise InputError(f"{folder} holds the study {previous.name!r}, not {self.name!r}; {way_out}")
        if other := other_data(self.fingerprints, previous.fingerprints):
            raise InputError(f"{folder} holds results of other data for {other}; {way_out}")
        changes = self.changes(previous)
        if changes and not allow_mixed:
            raise InputError(
                f"{folder} was computed with {changes}: the same study may give other bits here; "
                f"--allow-mixed continues all the same, or {way_out}"
            )
        mixed = (f"up to {self.started} computed with {changes}",) if changes else ()
        notes = tuple(dict.fromkeys(previous.notes + self.notes + mixed))
        renamed = _data_under_new_names(self.fingerprints, previous.fingerprints)
        others = {problem: data for problem, data in previous.fingerprints.items() if data not in renamed}
        fingerprints = {**others, **self.fingerprints}
        before = previous.shards if self.study_hash == previous.study_hash else []
        return replace(
            self,
            notes=notes,
            fingerprints=fingerprints,
            folder=previous.folder,
            parts=previous.parts,
            shards=list(dict.fromkeys(before + self.shards)),
        )

    def changes(self, previous: "Manifest") -> str:
        """Return in words the differences on which the bits of results may depend, as "numba 0.68.1 (now 0.69.0)"."""
        pairs = {
            "fastgd": (previous.fastgd, self.fastgd),
            "numba": (previous.packages.get("numba"), self.packages.get("numba")),
            "CPU": (previous.cpu, self.cpu),
        }
        return ", ".join(f"{what} {old} (now {new})" for what, (old, new) in pairs.items() if old != new)


def read_study(folder: Path) -> str:
    """Return the study file of a results folder, which is the one that its manifest names.

    Raises
    ------
    InputError
        The file is missing, or is another study than the manifest names.
    """
    path = folder / "study.toml"
    for _ in range(3):  # a run that begins writes the manifest first, then the study
        try:
            text = _content(path)
        except FileNotFoundError:
            raise InputError(f"{path} is missing: run the study again in {folder}, which writes it") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        if hashlib.sha256(text).hexdigest() == Manifest.read(folder).study_hash:
            try:
                return text.decode()
            except UnicodeDecodeError as error:
                raise _damaged(path, error) from error
        time.sleep(0.02)
    raise InputError(
        f"{path} is not the study that manifest.json names: it was changed, or a run was interrupted before it was "
        f"written. Run the study again in {folder}, which writes it, or see `fastgd verify {folder}`"
    )


def _content(path: Path) -> bytes:
    """Return the bytes of a file; pipes and devices are refused, since reading them may never end."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file: move it out of the results folder")
    return path.read_bytes()


def checksum_of(content: Mapping[str, Any]) -> str:
    """Return the hash of the content of a JSON file, without the entry for the checksum."""
    text = json.dumps({k: v for k, v in content.items() if k != CHECKSUM}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(path: Path, why: object) -> InputError:
    return InputError(f"{path} is damaged: {why}; restore it, or see `fastgd verify {path.parent} --repair`")


def _data_under_new_names(new: Mapping[str, str], old: Mapping[str, str]) -> set[str]:
    """Return the fingerprints of data whose problem has a name that had other data before, or none."""
    return {data for problem, data in new.items() if old.get(problem) != data}


def other_data(new: Mapping[str, str], old: Mapping[str, str]) -> str | None:
    """Return in words which problem has other data than before; None if none has.

    A study may gain, lose and rename problems. If it has no data in common with before, it is another study.
    """
    for problem in new.keys() & old.keys():
        if new[problem] != old[problem] and old[problem] not in _data_under_new_names(new, old):
            return f"the problem {problem!r}"
    return None if set(new.values()) & set(old.values()) else "every problem of this study"
