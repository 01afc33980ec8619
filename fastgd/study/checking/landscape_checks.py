"""The checks of a study on landscapes: what must hold between its parts."""

from fastgd.study.models import Stop, StudyFields
from fastgd.study.values import failure

# Keys that only studies over data may set, with their defaults.
OF_DATA = {"batch_size": ["full"], "order": "shuffle", "init": "zeros"}
METRICS = ("loss", "validation_loss", "param_norm", "grad_norm")


def check_landscapes(study: StudyFields) -> None:
    """Refuse keys of studies over data, and starts that do not fit the landscapes."""
    if len(study.landscapes) < len(study.problem):
        raise failure(": landscapes and problems over data are studies of their own", "problem")
    if study.epochs is not None:
        raise failure("goes with data, whose rows it counts; landscapes take steps", "epochs", found=study.epochs)
    if study.steps is None:
        raise failure("is missing: how many steps each trial takes", "steps")
    for key, usual in OF_DATA.items():
        if getattr(study, key) != usual:
            raise failure("goes with problems over data", key, found=getattr(study, key))
    if study.reference is not None:
        raise failure("goes with problems over data", "reference")
    _check_record(study)
    random = any(problem.noise for problem in study.landscapes) or any(b.record.drawn for b in study.optimizer)
    if len(study.seed) > 1 and not random:
        text = "has several values, and nothing here is random (starts have a seed of their own; see problem.noise)"
        raise failure(text, "seed", found=study.seed)
    for index, block in enumerate(study.optimizer):
        if block.estimator != ["none"]:
            raise failure("goes with problems over data", "optimizer", index, "estimator", found=block.estimator)
        curved = [each.label for each in study.landscapes if each.record.projected or each.record.online]
        if block.line_search and curved:
            text = f": does not go with '{curved[0]}', whose steps are not along a line, or see another objective each"
            raise failure(text, "optimizer", index, "line_search")
    _check_starts(study)


def _check_record(study: StudyFields) -> None:
    for key in ("target", "patience", "watch", "tolerance", "relative"):
        if getattr(study.stop, key) != Stop.model_fields[key].default:
            text = "goes with problems over data; trials on landscapes take all their steps (see problem.tolerance)"
            raise failure(text, "stop", key, found=getattr(study.stop, key))
    for metric in study.record.metrics:
        if metric not in METRICS:
            raise failure(f": landscapes have no '{metric}'; valid: {', '.join(METRICS)}", "record", "metrics")
    if study.record.rows is not None:
        raise failure("goes with problems over data, whose rows it counts", "record", "rows", found=study.record.rows)
    if study.record.state:
        raise failure("goes with problems over data", "record", "state", found=True)
    if study.record.parameters != "none":
        raise failure("goes with problems over data; where trials end stands in their rows", "record", "parameters")


def _check_starts(study: StudyFields) -> None:
    starts = study.starts
    if starts is None:
        return
    for problem in study.landscapes:
        d, fits = problem.dimension, (1, problem.dimension)
        for key in ("low", "high", "center", "grid"):
            found = getattr(starts, key)
            if found is not None and len(found) not in fits:
                text = f"must be a number, or one for each of the {d} coordinates of '{problem.label}'"
                raise failure(text, "starts", key, found=found)
        for index, point in enumerate(starts.points or []):
            if len(point) != d:
                text = f"must have {d} coordinates, as '{problem.label}'"
                raise failure(text, "starts", "points", index, found=point)
