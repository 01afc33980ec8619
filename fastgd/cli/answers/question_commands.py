"""The commands that ask something of results, with their options: `fastgd best` and those that go deeper."""

from typing import Annotated, Any

from typer import Argument, Option

from fastgd.cli.choices import AT, FORMATS, UNITS, chosen
from fastgd.cli.options import At, By, Conditions, Folder, Format, Fraction, Gap, Interpolate, Json, Of, Target, Unit


def best(
    folder: Folder,
    by: By = None,
    at: At = "final",
    where: Conditions = None,
    each: Annotated[
        str | None, Option(help="Only the best of each: optimizer, batch_size, ...", metavar="COLUMN")
    ] = None,
    over: Annotated[str | None, Option(help="Mean ranks over all problems.", metavar="problem")] = None,
    target: Target = None,
    gap: Gap = None,
    fraction: Fraction = None,
    unit: Unit = None,
    top: Annotated[int | None, Option(min=1, help="Show this many.  [default: 20; as JSON and CSV: all]")] = None,
    json: Json = False,
    form: Format = "text",
) -> None:
    """Rank the configurations of a study: the median over their seeds, diverged ones last.

    What a target ended ranks by when it reached it; what ran out of time ranks behind all that ended. `tied` says which
    configurations the seeds do not tell from the best one: 0 is in the 95 % interval of their paired differences.

    **Examples**

    ```
    fastgd best results/flights
    fastgd best results/flights --where optimizer=adam --where 'lr<0.1'
    fastgd best results/flights --each optimizer --format markdown
    fastgd best results/flights --gap 1e-3 --top 5
    fastgd best results/ill_conditioned --each optimizer --over problem
    fastgd best results/flights --json | jq '.[0]'
    ```
    """
    from fastgd.cli.answers import rankings

    options = {**_judge(by, at, target, gap, fraction, unit), "where": where or (), "each": each, "over": over}
    rankings.best(folder, options, top, _form(form, json))


def time(
    folder: Folder,
    target: Target = None,
    gap: Gap = None,
    fraction: Fraction = None,
    unit: Unit = None,
    interpolate: Interpolate = False,
    by: Of = None,
    each: Annotated[str, Option(help="What a row is.", metavar="configuration|trial")] = "configuration",
    top: Annotated[int | None, Option(min=1, help="Show this many of a problem.  [default: 20]")] = None,
    json: Json = False,
    form: Format = "text",
) -> None:
    """How long does it take to a loss? The median over the seeds; a trial that never gets there counts as later.

    **Examples**

    ```
    fastgd time results/flights --gap 1e-3
    fastgd time results/flights --target 0.52 --unit samples --interpolate
    fastgd time results/flights --fraction 0.99 --each trial --format csv
    ```
    """
    from fastgd.cli.answers import questions

    goal = _goal(target, gap, fraction, unit) | {"interpolate": interpolate, "by": by}
    questions.time(folder, goal, each, top, _form(form, json))


def sensitivity(
    folder: Folder,
    hyper: Annotated[str, Option(help="The hyper-parameter.", metavar="NAME")] = "lr",
    within: Annotated[float, Option(help="How much of what the best value gained may be lost.")] = 0.1,
    by: By = None,
    at: At = "final",
    json: Json = False,
    form: Format = "text",
) -> None:
    """How much does the right rate matter? The best one, the range about it, the edge of its grid, what moves it.

    **Examples**

    ```
    fastgd sensitivity results/flights
    fastgd sensitivity results/flights --hyper momentum --within 0.01
    ```
    """
    from fastgd.cli.answers import questions

    judge = {"by": by, "at": chosen(at, AT, "--at")}
    questions.sensitivity(folder, hyper, within, judge, _form(form, json))


def versus(
    folder: Folder,
    a: Annotated[str, Argument(help="An optimizer, which stands for its best configuration, or a trial.", metavar="A")],
    b: Annotated[str, Argument(help="Another one.", metavar="B")],
    by: By = None,
    at: At = "final",
    target: Target = None,
    gap: Gap = None,
    fraction: Fraction = None,
    unit: Unit = None,
    json: Json = False,
    form: Format = "text",
) -> None:
    """Is A better than B? Paired differences over seeds, with their interval, signs and a test.

    **Examples**

    ```
    fastgd versus results/flights adam momentum
    fastgd versus results/flights adam momentum --gap 1e-3
    ```
    """
    from fastgd.cli.answers import questions

    questions.versus(folder, a, b, _judge(by, at, target, gap, fraction, unit), _form(form, json))


def ranks(
    folder: Folder,
    blocks: Annotated[
        str | None,
        Option(help="In what optimizers are ranked.  [default: problems, of one its seeds]", metavar="problem|repeat"),
    ] = None,
    alpha: Annotated[float, Option(help="The level of the test.")] = 0.05,
    by: By = None,
    at: At = "final",
    target: Target = None,
    gap: Gap = None,
    fraction: Fraction = None,
    unit: Unit = None,
    json: Json = False,
    form: Format = "text",
) -> None:
    """Which optimizer is best over all problems? Mean ranks, and how far apart they must be (Friedman, Nemenyi).

    **Examples**

    ```
    fastgd ranks results/ill_conditioned
    fastgd ranks results/flights --blocks repeat --json
    ```
    """
    from fastgd.cli.answers import questions

    questions.ranks(folder, blocks, alpha, _judge(by, at, target, gap, fraction, unit), _form(form, json))


def profiles(
    folder: Folder,
    kind: Annotated[str, Option("--kind", "-k", help="Which profiles.", metavar="performance|data")] = "performance",
    target: Target = None,
    gap: Gap = None,
    fraction: Fraction = None,
    unit: Unit = None,
    interpolate: Interpolate = False,
    by: Of = None,
    json: Json = False,
    form: Format = "text",
) -> None:
    """How often is an optimizer nearly the fastest? Performance profiles, or data profiles, over problems and seeds.

    Without a goal, it is 99 % of the way from the start to the least loss.

    **Examples**

    ```
    fastgd profiles results/ill_conditioned
    fastgd profiles results/ill_conditioned --kind data --fraction 0.9 --format csv
    ```
    """
    from fastgd.cli.answers import questions

    goal = _goal(target, gap, fraction, unit) | {"interpolate": interpolate, "by": by}
    questions.profiles(folder, kind, goal, _form(form, json))


def ecdf(
    folder: Folder,
    of: Annotated[str, Option(help="Trials of the fastest configurations, or all.", metavar="best|all")] = "best",
    target: Target = None,
    gap: Gap = None,
    fraction: Fraction = None,
    unit: Unit = None,
    interpolate: Interpolate = False,
    by: Of = None,
    json: Json = False,
    form: Format = "text",
) -> None:
    """Which share of the trials gets there, and when? Without a goal: to 99 % of the way to the least loss.

    **Examples**

    ```
    fastgd ecdf results/flights
    fastgd ecdf results/flights --of all --gap 1e-3 --unit samples
    ```
    """
    from fastgd.cli.answers import questions

    goal = _goal(target, gap, fraction, unit) | {"interpolate": interpolate, "by": by}
    questions.ecdf(folder, of, goal, _form(form, json))


def budget(
    folder: Folder,
    interval: Annotated[float, Option(help="The probability of the interval.")] = 0.9,
    replacement: Annotated[
        bool, Option("--replacement/--no-replacement", help="Whether a configuration may be drawn again.")
    ] = True,
    by: By = None,
    at: At = "final",
    json: Json = False,
    form: Format = "text",
) -> None:
    """What will k random tries find? The expected best of k configurations, exactly, with its interval.

    **Examples**

    ```
    fastgd budget results/flights
    fastgd budget results/flights --no-replacement --json
    ```
    """
    from fastgd.cli.answers import questions

    judge = {"by": by, "at": chosen(at, AT, "--at")}
    questions.budget(folder, interval, replacement, judge, _form(form, json))


def _form(form: str, json: bool) -> str:
    return "json" if json else chosen(form, FORMATS, "--format")


def _judge(
    by: str | None, at: str, target: float | None, gap: float | None, fraction: float | None, unit: str | None
) -> dict[str, Any]:
    """Return the options by which trials are judged, as `Results` takes them."""
    return {"by": by, "at": chosen(at, AT, "--at")} | _goal(target, gap, fraction, unit)


def _goal(target: float | None, gap: float | None, fraction: float | None, unit: str | None) -> dict[str, Any]:
    """Return what a time is taken to, and in which unit."""
    return {"target": target, "gap": gap, "fraction": fraction, "unit": unit and chosen(unit, UNITS, "--unit")}


QUESTIONS = (time, sensitivity, versus, ranks, profiles, ecdf, budget)
