"""All of scikit-learn's checks of estimators, of which none may be skipped; prints what passed, and fails otherwise."""

import sys
import warnings

from sklearn.utils.estimator_checks import check_estimator

from fastgd.sklearn import GDClassifier, GDRegressor, GDSearchCV

ESTIMATORS = {
    "classifier": GDClassifier(),
    "ovr": GDClassifier(loss="hinge", multi_class="ovr"),
    "regressor": GDRegressor(),
    "search of classifiers": GDSearchCV(GDClassifier(max_iter=50), {"alpha": [1e-4, 1e-2]}, cv=2, error_score="raise"),
    "search of regressors": GDSearchCV(GDRegressor(max_iter=50), {"alpha": [1e-4, 1e-2]}, cv=2, error_score="raise"),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    wrong = []
    for kind, estimator in ESTIMATORS.items():
        for check in check_estimator(estimator, on_skip=None, on_fail=None):
            name = f"{kind.replace(' ', '_')}:{check['check_name']}"
            if check["status"] == "passed":
                sys.stdout.write(f"{name}\n")
            else:
                wrong.append(f"{name}: {check['status']}: {check['exception']!r}")
    sys.exit("\n".join(wrong) or 0)
