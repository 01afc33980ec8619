"""The words that options of commands take."""

from collections.abc import Sequence

from fastgd.common.errors import InputError, nearest

# what `fastgd list` lists
KINDS = (
    *("optimizers", "options", "baselines", "schedules", "losses", "activations", "starts", "landscapes"),
    *("datasets", "metrics", "keys"),
)
BY = ("validation_loss", "loss")  # what `fastgd best` ranks by
FORMATS = ("text", "json", "csv", "markdown", "latex")  # of answers
UNITS = ("epochs", "steps", "samples", "seconds")  # of times to a goal
AT = ("final", "best")  # where on a curve it looks
DIRECTIONS = ("random", "pca", "between")  # of `fastgd surface`


def chosen(name: str, valid: Sequence[str], option: str) -> str:
    """Return a word that an option takes, or raise InputError: the option, what was found and what is near."""
    if name not in valid:
        raise InputError(f"{option}: there is no {name!r}; {nearest(name, valid)}")
    return name
