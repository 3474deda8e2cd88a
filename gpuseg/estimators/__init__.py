"""Estimators with scikit-learn's names, parameters and attributes, and kernels of ours."""

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
