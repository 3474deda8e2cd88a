"""Estimators with scikit-learn's names, parameters and attributes, and kernels of ours."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from .clusters import KMeans, center_distances, lloyd, nearest_centers
    from .linear import LinearRegression, least_squares, linear_predict
    from .neighbors import KNeighborsClassifier, KNeighborsRegressor, nearest_neighbors
    from .preprocessing import (
        PolynomialFeatures,
        QuantileTransformer,
        RobustScaler,
        polynomial_table,
        quantile_places,
        robust_scale,
    )
    from .trees import (
        DecisionTreeClassifier,
        DecisionTreeRegressor,
        Forest,
        RandomForestClassifier,
        RandomForestRegressor,
        forest_predict,
    )

# scikit-learn takes a second to import whole: each module is loaded when one of its names is used.
_WHERE = {
    "DecisionTreeClassifier": ".trees",
    "DecisionTreeRegressor": ".trees",
    "Forest": ".trees",
    "KMeans": ".clusters",
    "KNeighborsClassifier": ".neighbors",
    "KNeighborsRegressor": ".neighbors",
    "LinearRegression": ".linear",
    "Pipeline": "sklearn.pipeline",
    "PolynomialFeatures": ".preprocessing",
    "QuantileTransformer": ".preprocessing",
    "RandomForestClassifier": ".trees",
    "RandomForestRegressor": ".trees",
    "RobustScaler": ".preprocessing",
    "center_distances": ".clusters",
    "forest_predict": ".trees",
    "least_squares": ".linear",
    "linear_predict": ".linear",
    "lloyd": ".clusters",
    "nearest_centers": ".clusters",
    "nearest_neighbors": ".neighbors",
    "polynomial_table": ".preprocessing",
    "quantile_places": ".preprocessing",
    "robust_scale": ".preprocessing",
}

__all__ = [
    "DecisionTreeClassifier",
    "DecisionTreeRegressor",
    "Forest",
    "KMeans",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "LinearRegression",
    "Pipeline",
    "PolynomialFeatures",
    "QuantileTransformer",
    "RandomForestClassifier",
    "RandomForestRegressor",
    "RobustScaler",
    "center_distances",
    "forest_predict",
    "least_squares",
    "linear_predict",
    "lloyd",
    "nearest_centers",
    "nearest_neighbors",
    "polynomial_table",
    "quantile_places",
    "robust_scale",
]


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = thing = getattr(import_module(_WHERE[name], __name__), name)
    return thing
