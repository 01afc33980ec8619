"""Options that several commands take, with their help."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fastgd.cli.choices import AT, FORMATS, UNITS

Folder = Annotated[Path, Argument(help="A folder of results, as written by fastgd run, or its URL.", metavar="DIR")]
Threads = Annotated[
    int | None, Option("--threads", "-j", min=1, max=1024, help="Threads; their number never changes a result.")
]
Dask = Annotated[
    str | None,
    Option(
        "--dask",
        help="Run on the workers of a Dask cluster: its scheduler's address, or local:WORKERSxTHREADS.",
        metavar="ADDRESS|local",
    ),
]
Plugins = Annotated[
    bool | None,
    Option(
        "--plugins/--no-plugins",
        help="Whether modules of your own that the study names are imported.  [default: yes; for --dry-run no]",
        show_default=False,
    ),
]
StudyFile = Annotated[Path, Argument(help="The study file (TOML).", metavar="STUDY.toml")]
Assignments = Annotated[
    list[str] | None,
    Option("--set", help="Replace a value of the file; may be repeated.", metavar="KEY.PATH=VALUE"),
]
Json = Annotated[bool, Option("--json", help="Print JSON, alone, on standard output.")]

# of questions about results
By = Annotated[
    str | None,
    Option(
        help="A loss or another recorded metric.  [default: validation_loss, where there is validation data]",
        metavar="METRIC",
    ),
]
Conditions = Annotated[
    list[str] | None,
    Option("--where", help="Only configurations that meet this; may be repeated.", metavar="CONDITION"),
]
Of = Annotated[str | None, Option("--by", help="The metric that gets there.  [default: loss]", metavar="METRIC")]
At = Annotated[str, Option(help="The end of each curve, or its best point.", metavar="|".join(AT))]
Target = Annotated[float | None, Option(help="The time until the metric is at this value.")]
Gap = Annotated[float | None, Option(help="The time until the loss is so close to the least one.")]
Fraction = Annotated[float | None, Option(help="The time until this part of the way to the least loss is done.")]
Unit = Annotated[str | None, Option(help="Of times.  [default: epochs, on landscapes steps]", metavar="|".join(UNITS))]
Interpolate = Annotated[bool, Option("--interpolate", help="Times between checkpoints, too.")]
Format = Annotated[str, Option("--format", help="How the answer is printed.", metavar="|".join(FORMATS))]
