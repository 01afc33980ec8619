"""The commands of `fastgd` with their options. They import heavy modules when they run, so that `--help` is quick."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from fastgd import InputError, __version__
from fastgd.cli import signals
from fastgd.cli.answers import question_commands
from fastgd.cli.choices import BY, DIRECTIONS, KINDS, chosen
from fastgd.cli.models import model_commands
from fastgd.cli.options import Assignments, Dask, Folder, Json, Plugins, StudyFile, Threads
from fastgd.common.escape import for_terminal
from fastgd.common.numbers import amount
from fastgd.common.remote import refuse_host
from fastgd.common.system import make_room, memory_limits

LONGEST = 10_000  # letters of a line of an error message


class _Program(TyperGroup):
    """Turns exceptions into a line on standard error and an exit code: 2 for wrong input, else that of the signal.

    It is no error if whoever reads the output has seen enough and closes the pipe (`| head`).
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            make_room()
            for word in ctx.args:  # as it was written: the parser makes paths of some
                refuse_host(word)
            with signals.restored():
                return super().invoke(ctx)
        except InputError as error:
            for line in f"error: {error}".split("\n"):  # a message may have several lines
                sys.stderr.write(f"{for_terminal(line[:LONGEST])}\n")
            raise typer.Exit(2) from None
        except typer.BadParameter as error:
            if error.param is None or not error.message:  # a missing option is reported with the usage
                raise
            sys.stderr.write(f"error: {_option_error(error)}\n")
            raise typer.Exit(2) from None
        except MemoryError:
            tightest = min(memory_limits(), key=lambda limit: limit.left)
            limit = f"{tightest.words}: {amount(tightest.most, 'B')}"
            sys.stderr.write(f"error: the memory does not suffice ({limit})\n")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            sys.stderr.write("interrupted: what was done is kept, and the same command goes on from there\n")
            raise typer.Exit(signals.code()) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # further output goes nowhere
            raise typer.Exit(0) from None


def _option_error(error: typer.BadParameter) -> str:
    """Return what is wrong with an option, in the words of fastgd's other errors instead of the parser's."""
    option = max(error.param.opts, key=len) if error.param else ""
    text = error.message.removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{option}: {text.partition(', unable to')[0].replace('a valid integer', 'a whole number').rstrip('.')}"


app = typer.Typer(
    name="fastgd",
    cls=_Program,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `fastgd demo`, then copy a file of studies/ and make it yours.",
)


def main() -> None:
    """Run the command line."""
    _open_streams()
    try:
        with signals.handled():
            _run()
    except SystemExit as error:
        if error.code and signals.received():  # no matter which error the interruption caused
            signals.leave()
        raise
    except OSError as error:
        if signals.received():  # the terminal may be gone
            signals.leave()
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        sys.stderr.write(f"error: cannot write on standard output: {error.strerror}\n")
        sys.exit(2)


def _run() -> None:
    try:
        app()
    except OSError as error:
        if error.errno == errno.EIO:  # a terminal that is closed may refuse words a moment before its signal comes
            signals.wait()
        raise


def _open_streams() -> None:
    """Make standard output accept all text, also where it is closed or its encoding lacks a letter."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (it stays open as long as the process runs)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"fastgd {__version__}\n")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Convergence studies of gradient-descent optimizers.

    A study is one TOML file: a problem, optimizers, and grids of rates, schedules, batch sizes and seeds. fastgd runs
    all of its trials in a few passes over the data, and leaves curves in Parquet, a ranking, and plots.
    """


@app.command()
def run(
    study: StudyFile,
    out: Annotated[
        Path | None, Option("--out", "-o", help="Folder of the results.  [default: results/NAME]", metavar="DIR")
    ] = None,
    assignments: Assignments = None,
    fresh: Annotated[bool, Option("--fresh", help="Start anew: an old folder is moved aside, never deleted.")] = False,
    join: Annotated[
        bool, Option("--join", help="Wait for another process that writes to the folder, and go on with what it left.")
    ] = False,
    threads: Threads = None,
    trial: Annotated[
        str | None,
        Option("--trial", help="Run this trial alone, with the same bits; on landscapes ID or ID:START.", metavar="ID"),
    ] = None,
    shard: Annotated[
        str | None,
        Option(
            "--shard",
            help="Run one part of N, into results/NAME.shard-K-of-N; fastgd merge joins them.",
            metavar="K/N",
        ),
    ] = None,
    allow_mixed: Annotated[
        bool,
        Option("--allow-mixed", help="Extend results that another version or processor made."),
    ] = False,
    memory: Annotated[
        str | None,
        Option(
            "--memory",
            help="What the run may take of memory.  [default: all that the process may use; half, where rows stream]",
            metavar="2GB",
        ),
    ] = None,
    dask: Dask = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the plan, run nothing.")] = False,
    workers: Annotated[
        int | None,
        Option(
            "--workers",
            min=1,
            max=100_000,
            help="With --dry-run: what it takes on so many machines, of so many --threads and so much --memory each.",
        ),
    ] = None,
    read_rate: Annotated[
        str | None,
        Option("--read", help="How fast each of them reads the data.  [default: 1GB/s]", metavar="1GB/s"),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Run a study, or what is missing of it.

    Running it again resumes: finished trials are kept, and a study that was extended (more rates, another optimizer)
    runs only what is new. Ctrl-C, SIGTERM and SIGHUP stop within a second and keep what was done (exit codes 130, 143
    and 129); a second one ends at once.

    **Examples**

    ```
    fastgd run studies/flights.toml
    fastgd run studies/flights.toml --dry-run
    fastgd run studies/flights.toml --dry-run --workers 100 --threads 32
    fastgd run studies/flights.toml --set epochs=2 --set optimizer.0.lr=0.1 --out /tmp/quick
    fastgd run studies/flights.toml --set 'batch_size=[32, 256]' --set dtype=float32
    fastgd run studies/flights.toml --shard 3/16
    fastgd run studies/flights.toml --join
    fastgd run studies/flights.toml --dask tcp://10.0.0.1:8786
    ```
    """
    from fastgd.cli import runs
    from fastgd.cli.studies import read
    from fastgd.common.numbers import size_of

    most = None if memory is None else size_of(memory, "--memory")
    there = runs.workers_of(workers, threads, read_rate, most, dry_run=dry_run)
    if there:
        threads = most = None  # which are theirs
    options = runs.Options(fresh, join, threads, trial, shard, allow_mixed, most, dask)
    if dry_run:
        runs.dry_run(study, assignments or [], out, options, plugins=bool(plugins), workers=there)
    else:
        runs.run(read(study, assignments or [], plugins=plugins is not False), out, options)


@app.command()
def merge(
    out: Annotated[Path, Argument(help="The merged folder; it may hold some of the study already.", metavar="OUT")],
    shards: Annotated[
        list[Path], Argument(help="Folders of one study, such as those of shards.", metavar="DIR [DIR2 ...]")
    ],
    allow_mixed: Annotated[
        bool, Option("--allow-mixed", help="Merge what other versions or processors made, too.")
    ] = False,
) -> None:
    """Join the results of a study's shards, or of several machines, in one folder.

    All bytes are checked, before and after, and no folder is changed but OUT. What shards are missing is said; the
    study's run in OUT computes what is not there, and what only a whole study can say.

    **Examples**

    ```
    fastgd merge results/flights results/flights.shard-*-of-16
    fastgd run studies/flights.toml --out results/flights
    ```
    """
    from fastgd.cli import runs

    runs.merge(out, shards, allow_mixed=allow_mixed)


@app.command()
def demo(
    out: Annotated[Path, Option("--out", "-o", help="Folder of the results.", metavar="DIR")] = Path("results/demo"),
) -> None:
    """Run the built-in study on the bundled flights data: nine optimizers, three plots, a report. Needs nothing."""
    from fastgd.cli import runs

    runs.demo(out)


@app.command()
def tune(
    study: StudyFile,
    out: Annotated[
        Path | None,
        Option("--out", "-o", help="Folder of the search.  [default: results/NAME-tune]", metavar="DIR"),
    ] = None,
    assignments: Assignments = None,
    factor: Annotated[
        float | None, Option(help="How far apart the rates next to the best one may be.  [default: 1.3]")
    ] = None,
    low: Annotated[
        float | None, Option(help="The lowest rate of the first grid.  [default: the study's, or 1e-4]")
    ] = None,
    high: Annotated[
        float | None, Option(help="The highest rate of the first grid.  [default: the study's, or 1]")
    ] = None,
    points: Annotated[int | None, Option(help="The rates of a grid.  [default: 9]")] = None,
    epochs: Annotated[
        int | None, Option(min=1, help="Epochs of the first rounds.  [default: a fifth of the study's]")
    ] = None,
    steps: Annotated[
        int | None, Option(min=1, help="The same in steps; of a range test: all.  [default there: 300]")
    ] = None,
    by: Annotated[
        str | None,
        Option(help="What judges.  [default: validation_loss, where there is validation data]", metavar="|".join(BY)),
    ] = None,
    range_test: Annotated[
        bool, Option("--range-test", help="One run with a growing rate, by default from 1e-6 to 10.")
    ] = False,
    threads: Threads = None,
    dask: Dask = None,
    json: Json = False,
    plugins: Plugins = None,
) -> None:
    """Search the best learning rate of every optimizer of a study, from coarse to fine.

    A grid of rates with a fifth of the budget, then finer grids about the best rate, the last ones with the whole
    budget, until the rate is known to a factor. Every round is a study of its own in DIR: the same command again runs
    nothing anew. DIR/tuned.toml is the study at the best rates.

    **Examples**

    ```
    fastgd tune studies/flights.toml
    fastgd tune studies/flights.toml --set seed=0 --factor 2 --out /tmp/tune
    fastgd tune studies/flights.toml --range-test
    fastgd tune studies/flights.toml --dask tcp://10.0.0.1:8786
    fastgd run results/flights-tune/tuned.toml
    ```
    """
    from fastgd.cli import rate_searches
    from fastgd.cli.studies import read

    options: dict[str, Any] = {"factor": factor, "low": low, "high": high, "points": points, "epochs": epochs}
    options |= {"steps": steps, "by": by and chosen(by, BY, "--by"), "threads": threads}
    command = rate_searches.range_test if range_test else rate_searches.tune
    command(read(study, assignments or [], plugins=plugins is not False), out, options, dask, as_json=json)


app.command()(question_commands.best)
app.command()(model_commands.fit)
app.command()(model_commands.predict)
for _question in question_commands.QUESTIONS:
    app.command(rich_help_panel="Questions about results")(_question)


@app.command()
def plot(
    folder: Annotated[
        Path,
        Argument(help="A folder of results; for the schedules, a study file will do.", metavar="DIR|STUDY.toml"),
    ],
    kind: Annotated[str, Option("--kind", "-k", help="What to draw: one of those below.", metavar="KIND")] = "curves",
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            help="A .png, .svg or .pdf; of a film .gif or .mp4.  [default: DIR/KIND.png]",
            metavar="FILE",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        Option(
            "--set",
            help="Set an option of that kind, those of its function in fastgd.plots; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
) -> None:
    """Draw a study's results into a file.

    ```
    curves       the objective along the epochs: the best of each optimizer, bands over the others
    gap          how far the best of each optimizer is from the minimum, log-log
    sensitivity  the final loss against the rate: how much does the right rate matter?
    heatmap      the final loss over two quantities of the grid
    parallel     every configuration over all quantities of the grid: which of them decide?
    time         the time to a goal against the rate (--set gap=1e-3, or target, fraction)
    ecdf         which share of each optimizer's trials has reached a goal, over time
    profile      on which share of the problems each optimizer is fast
    ranks        mean ranks over problems or seeds, with a critical difference
    compare      paired differences to the best optimizer, with intervals
    budget       the expected best of k random configurations
    schedule     what the schedules are worth along the epochs
    rates        by which rates rare and frequent features learn (record.metrics = ["effective_lr"])
    layers       gradients, updates and dead units of a network's layers (record.metrics = ["layer_grad_norm"])
    range        the loss along a growing rate (fastgd tune --range-test)
    tune         the loss against the rate in all rounds of a search (fastgd tune)
    ```

    Of surfaces: those that `fastgd surface` computed about the ends of trials, those of `[surface]`, and those of
    landscapes.

    ```
    contour      the map of the loss, with trajectories; on landscapes the best of each optimizer
    surface      the same in three dimensions
    ```

    Of studies on landscapes:

    ```
    basins       which minimum each start leads to, and after how many steps
    phase        convergent, oscillating, divergent: how trials end over two hyper-parameters
    traces       parameters, gradients, what the rules keep, and effective rates, step by step
    animate      a film of optimizers on the contour map, beside their losses
    ```

    **Examples**

    ```
    fastgd plot results/flights --kind sensitivity -o sensitivity.pdf
    fastgd plot results/flights --kind heatmap -o heatmap.svg
    fastgd plot results/flights --kind curves --set scale=loss --set 'y_limits=[0.5,0.52]'
    fastgd plot results/flights --kind gap --set x_scale=linear
    fastgd plot results/flights --kind time --set gap=0.01 --set unit=seconds
    fastgd plot results/flights --kind compare --set b=adam
    fastgd plot studies/schedules.toml --kind schedule -o schedules.png
    fastgd plot results/depth --kind contour --set directions=pca
    fastgd plot results/basins --kind basins --set color=steps
    fastgd plot results/valley --kind animate -o valley.gif
    fastgd plot results/ill_conditioned --kind sensitivity --set 'problem=condition 10'
    ```
    """
    from fastgd.cli import pictures

    pictures.plot(folder, kind, output, assignments or [])


@app.command()
def report(
    folders: Annotated[
        list[Path], Argument(help="Folders of results, as written by fastgd run.", metavar="DIR [DIR2 ...]")
    ],
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            help="The page, a .html.  [default: DIR/report.html; of several report.html]",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Write a report of a study or of several: one page of HTML that opens without a network.

    The findings in words, the ranking, tables that sort and filter, the curves, how much the rates matter, each trial,
    where the numbers come from, and how to make them again. Needs the extra `report`: pip install "fastgd[report]".

    **Examples**

    ```
    fastgd report results/flights
    fastgd report results/flights results/sparse -o report.html
    ```
    """
    from fastgd.cli.output import pages

    pages.report(folders, output)


@app.command()
def surface(
    folder: Folder,
    others: Annotated[
        list[str] | None,
        Argument(help="Of `--directions between`: one trial for a line, two for a plane.", metavar="[ID2 [ID3]]"),
    ] = None,
    trial: Annotated[
        str | None, Option("--trial", help="The trial.  [default: the best of the first problem]", metavar="ID")
    ] = None,
    directions: Annotated[
        str, Option("--directions", "-d", help="Which plane through its end point.", metavar="|".join(DIRECTIONS))
    ] = "random",
    points: Annotated[int, Option(help="The points of an axis, or a few more.")] = 51,
    span: Annotated[
        float | None,
        Option(help="How far the grid goes; see below.  [default: 1 of random, 0.25 of pca, 0.5 of between]"),
    ] = None,
    seed: Annotated[int, Option(min=0, help="The seed of random directions.")] = 0,
    trajectory: Annotated[
        bool, Option("--trajectory/--no-trajectory", help="Whether the trajectories are projected on the plane, too.")
    ] = True,
    threads: Threads = None,
    plugins: Plugins = None,
) -> None:
    """Compute the exact loss of a trained network, or linear model, on a grid about its end point.

    Every point of the grid is a lane: thousands of networks are a few passes over the training rows. The surface is
    stored in DIR/trial_surfaces, and is not computed twice; `fastgd plot DIR --kind contour` or `surface` draws it.

    ```
    random   two random directions, each unit's as long as its weights; span: in lengths of the weights
    pca      the two main directions of the trajectory; span: how far beyond it, as a share of its extent
    between  the line to another solution, or the plane of three; span: how far beyond them, likewise
    ```

    **Examples**

    ```
    fastgd surface results/depth
    fastgd surface results/depth --trial 60b725f10c9c85c70d97 --directions pca --points 101
    fastgd surface results/depth --trial 60b725f10c9c85c70d97 --directions between 7de8d3af3a6c50cbb2c8
    fastgd plot results/depth --kind contour --set directions=pca
    ```
    """
    from fastgd.cli import surfaces

    options = {"points": points, "span": span, "seed": seed, "trajectory": trajectory, "threads": threads}
    chosen(directions, DIRECTIONS, "--directions")
    surfaces.surface(folder, trial, directions, others or [], options, plugins=plugins is not False)


@app.command()
def optimum(folder: Folder, json: Json = False, plugins: Plugins = None) -> None:
    """Find the minimum of each convex objective of a study, with a bound of its error.

    A separate solve in float64, and a certificate that holds whatever solved it: the minimum is at most so much below.
    Smoothness (L), strong convexity (mu) and other constants stand beside it. All of it is stored in DIR/optima, and is
    not computed twice; where no certificate is to be had, the least loss that the trials saw remains the best known.
    `optimum = true` in a study's `[reference]` has its run do the same.

    **Examples**

    ```
    fastgd optimum results/flights
    fastgd optimum results/theory --json | jq '.[0].minimum'
    ```
    """
    from fastgd.cli import optima

    optima.optimum(folder, as_json=json, plugins=plugins is not False)


@app.command()
def theory(folder: Folder, json: Json = False) -> None:
    """Set measured rates of convergence beside those of textbooks: gradient descent, momentum, Nesterov, noise.

    Needs certified minima, which `fastgd optimum` finds.

    **Examples**

    ```
    fastgd theory results/theory
    fastgd theory results/theory --json | jq '.[0].ratio'
    ```
    """
    from fastgd.cli import optima

    optima.theory(folder, as_json=json)


@app.command()
def verify(
    folder: Folder,
    repair: Annotated[
        bool, Option("--repair", help="Move what is damaged aside; the next run computes what it held.")
    ] = False,
    json: Json = False,
) -> None:
    """Check every byte of a folder of results, and whether its files fit together.

    Each file's checksums and columns, one row a trial, whole curves, the parts that the manifest names, the study file.
    The exit code is 1 where something is wrong, or was. `--repair` deletes no damaged file: they go to DIR/damaged.

    **Examples**

    ```
    fastgd verify results/flights
    fastgd verify results/flights --repair
    ```
    """
    from fastgd.cli import verifications

    if not verifications.command(folder, repair, as_json=json):
        raise typer.Exit(1)


@app.command()
def compare(
    base: Annotated[Path, Argument(help="The folder of results to compare with.", metavar="BASE")],
    new: Annotated[Path, Argument(help="The folder of new results.", metavar="NEW")],
    tolerance: Annotated[
        float, Option(help="What counts as worse, relative: of losses, and of the way down.", metavar="X")
    ] = 1e-3,
    json: Json = False,
) -> None:
    """Compare two folders of results, trial by trial: what converges otherwise than in the base, and what got worse.

    How many trials are equal to the bit, the largest difference, and what got worse: a final or best loss that is
    higher, a target that is reached later, a trial that diverges now. Versions and machines may differ. The exit code
    is 1 where anything got worse, and 2 where the folders cannot be compared.

    **Examples**

    ```
    fastgd compare results/reference/dense results/dense
    fastgd compare results/reference/dense results/dense --tolerance 1e-9
    fastgd compare results/reference/dense results/dense --json | jq .worse
    ```
    """
    from fastgd.cli.answers import regressions

    if not regressions.command(base, new, tolerance, as_json=json):
        raise typer.Exit(1)


@app.command("list")
def list_(
    kind: Annotated[str, Argument(help=f"What to list: {', '.join(KINDS)}.", metavar="KIND")],
    json: Json = False,
) -> None:
    """List what a study file can name, and its keys.

    **Examples**

    ```
    fastgd list optimizers
    fastgd list keys
    fastgd list datasets --json
    ```
    """
    from fastgd.cli import registries
    from fastgd.cli.output.consoles import show, show_json

    chosen(kind, KINDS, "fastgd list")
    if json:
        show_json(registries.records(kind))
    else:
        show(registries.listing(kind))


@app.command()
def info(json: Json = False) -> None:
    """Show versions, threads, vector width, the cache's folder, and the machine's measured speed."""
    from fastgd.cli.output.consoles import show_facts, show_json
    from fastgd.engine import machine

    (show_json if json else show_facts)(machine.info())


@app.command()
def warmup(
    study: Annotated[
        Path | None,
        Argument(help="The study to compile for.", metavar="STUDY.toml"),
    ] = None,
    everything: Annotated[
        bool, Option("--all", help="Every built-in optimizer: what is done without a study, too.")
    ] = False,
    plugins: Plugins = None,
) -> None:
    """Compile what a study needs, under a lock, so that runs start at once.

    Compiled code is cached until fastgd, Numba or the processor changes. Before many processes start together, run this
    once.
    """
    from fastgd.cli import runs
    from fastgd.cli.studies import read

    if study is not None and everything:
        raise InputError("give a study or --all, not both")
    runs.warmup(None if study is None else read(study, [], plugins=plugins is not False))
