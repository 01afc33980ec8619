"""The faces of scikit-learn: estimators that train by any rule of fastgd, and a grid search in a few passes.

>>> from sklearn.datasets import load_iris
>>> from fastgd.sklearn import GDClassifier
>>> X, y = load_iris(return_X_y=True)
>>> GDClassifier(random_state=0).fit(X, y).score(X, y) > 0.9
True

An estimator is one trial of a study, and a search is a study, whose candidates share passes over the data.
"""

from fastgd.sklearn.classifier import GDClassifier
from fastgd.sklearn.regressor import GDRegressor
from fastgd.sklearn.search import GDSearchCV

__all__ = ["GDClassifier", "GDRegressor", "GDSearchCV"]
