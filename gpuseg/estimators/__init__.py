"""Estimators with scikit-learn's names, parameters and attributes, and kernels of ours."""

from .trees import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    Forest,
    RandomForestClassifier,
    RandomForestRegressor,
    forest_predict,
)

__all__ = [
    "DecisionTreeClassifier",
    "DecisionTreeRegressor",
    "Forest",
    "RandomForestClassifier",
    "RandomForestRegressor",
    "forest_predict",
]
