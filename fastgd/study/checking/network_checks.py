"""The checks of problems with networks: what goes with linear models alone, and what with networks alone."""

from fastgd.optimizers import find
from fastgd.study.fields import LAYER_METRICS
from fastgd.study.models import StudyFields
from fastgd.study.values import failure

NO_ESTIMATE = "keeps one number for each row, which makes the gradient of a linear model, and not that of a network"
NO_MASK = "leaves the weights of features alone that a batch does not have, which is known of linear models alone"
NO_SEARCH = "needs the derivative of the objective along a direction, which is known of linear models alone"


def check_networks(study: StudyFields) -> None:
    """Refuse what a study asks for that networks do not have."""
    number = next((at for at, problem in enumerate(study.data_problems) if problem.layered), None)
    if number is None:
        return
    key = f"problem.{number}" if len(study.problem) > 1 else "problem"
    if study.init != "zeros":
        raise failure(f": {key} has layers, whose weights start as {key}.init says", "init")
    if study.surface is not None:
        raise failure(f"is of two parameters of a linear model or of a landscape, and {key} has layers", "surface")
    for index, block in enumerate(study.optimizer):
        for estimator in block.estimator:
            if estimator != "none":
                text = f": '{estimator}' {NO_ESTIMATE}; {key} has layers"
                raise failure(text, "optimizer", index, "estimator")
        if block.line_search and block.line_search.kind == "exact":
            raise failure(f": 'exact' {NO_SEARCH}; {key} has layers", "optimizer", index, "line_search")
    for at, problem in enumerate(study.data_problems):
        if problem.layered and problem.sparse == "masked":
            raise failure(f": 'masked' {NO_MASK}", "problem", at, "sparse")


def check_layer_metrics(study: StudyFields) -> None:
    """Refuse a metric of layers that no problem of the study can have; one that some have is null for the others."""
    problems = study.data_problems
    for metric in (name for name in LAYER_METRICS if name in study.record.metrics):
        if not any(problem.layered for problem in problems):
            raise failure(f": no problem has '{metric}', which is of networks", "record", "metrics")
        if metric == "dead_units" and not any(problem.network and problem.network.hidden for problem in problems):
            raise failure(": no problem has 'dead_units', which is of hidden layers", "record", "metrics")
        if metric == "layer_update_ratio" and all(find(block.name).baseline for block in study.optimizer):
            names = ", ".join(dict.fromkeys(block.name for block in study.optimizer))
            text = f": no optimizer of the study has 'layer_update_ratio', which is of steps: {names}"
            raise failure(text, "record", "metrics")
