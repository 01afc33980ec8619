"""`fastgd fit` and `fastgd predict` with their options."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fastgd.cli.options import Assignments, By, Conditions, Dask, Plugins, StudyFile, Threads
from fastgd.common.errors import InputError


def fit(
    study: StudyFile,
    best: Annotated[bool, Option("--best", help="Take the best configuration, which is the default.")] = False,
    trial: Annotated[str | None, Option("--trial", help="Take this trial instead.", metavar="ID")] = None,
    by: By = None,
    where: Conditions = None,
    as_trained: Annotated[
        bool, Option("--as-trained", help="Take the trial as it ended, without the rows that were held out.")
    ] = False,
    output: Annotated[
        Path | None,
        Option(
            "--output", "-o", help="The model, a .npz.  [default: model.npz in the folder of results]", metavar="FILE"
        ),
    ] = None,
    results: Annotated[
        Path | None, Option("--results", help="Folder of the results.  [default: results/NAME]", metavar="DIR")
    ] = None,
    assignments: Assignments = None,
    threads: Threads = None,
    dask: Dask = None,
    plugins: Plugins = None,
) -> None:
    """Train the best configuration of a study on all rows, and write it as a model.

    Runs what is missing of the study, chooses the best configuration as `fastgd best` ranks them, and trains its trial
    at the median on all rows, those that the study held out included, for as many epochs as it took. The file is plain
    NumPy: `fastgd predict` and `fastgd.load_model` read it.

    **Examples**

    ```
    fastgd fit studies/flights.toml --best -o model.npz
    fastgd fit studies/flights.toml --by validation_loss --where optimizer=adam
    fastgd fit studies/flights.toml --as-trained -o model.npz
    ```
    """
    from fastgd.cli.models import fitting
    from fastgd.cli.studies import read

    if trial is not None and (best or by is not None or where):
        raise InputError("--trial says which trial it is; --best, --by and --where choose one")
    options = fitting.Options(by, tuple(where or ()), trial, as_trained, threads, dask)
    fitting.fit(read(study, assignments or [], plugins=plugins is not False), results, output, options)


def predict(
    model: Annotated[Path, Argument(help="A model, as written by fastgd fit.", metavar="MODEL.npz")],
    data: Annotated[
        Path,
        Argument(help="The rows, in any format, with the columns of the training rows.", metavar="DATA"),
    ],
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="A .csv or .parquet.  [default: CSV on standard output]", metavar="FILE"),
    ] = None,
    probabilities: Annotated[
        bool, Option("--probabilities", help="The probability of each class, too: of logistic and softmax.")
    ] = False,
    form: Annotated[
        str | None, Option("--format", help="What DATA is, where its name does not say it.", metavar="csv|svm|...")
    ] = None,
    csv: Annotated[
        str | None,
        Option(
            "--csv", help="How a text table is written, as a study says it.  [default: the study's]", metavar="TABLE"
        ),
    ] = None,
    zero_based: Annotated[
        bool | None,
        Option(
            "--zero-based/--one-based",
            help="Where columns of svmlight rows begin.  [default: as in the training rows]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Predict the targets of new rows: labels as the training rows have them, or numbers.

    Columns of tables are matched by their names, in any order; no target is needed, and other columns are left out and
    named on standard error. A row of the answer is a row of DATA, with its number from 1.

    **Examples**

    ```
    fastgd predict model.npz new.csv -o predictions.csv
    fastgd predict model.npz new.parquet --probabilities -o predictions.parquet
    fastgd predict model.npz new.txt --format csv --csv 'sep = ";"'
    ```
    """
    from fastgd.cli.models import predicting

    predicting.predict(model, data, output, predicting.keys_of(form, csv, zero_based), probabilities=probabilities)
