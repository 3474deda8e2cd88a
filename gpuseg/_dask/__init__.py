"""The forms of public functions for Dask arrays; and why some functions have none."""

_APART = "gpuseg.volume.by_chunks labels each chunk by itself"
_TABLE = "it takes a table, not an image; call it on the rows of each chunk"

# By topic and name.
REASONS = {
    "estimators.center_distances": _TABLE,
    "estimators.forest_predict": _TABLE,
    "estimators.least_squares": _TABLE,
    "estimators.linear_predict": _TABLE,
    "estimators.lloyd": _TABLE,
    "estimators.nearest_centers": _TABLE,
    "estimators.nearest_neighbors": _TABLE,
    "estimators.polynomial_table": _TABLE,
    "estimators.quantile_places": _TABLE,
    "estimators.robust_scale": _TABLE,
    "features.feature_table": "its table has a row for every voxel; give it a part",
    "filters.threshold_stability": "it disturbs the whole image again and again; give it a part",
    "measure.find_contours": "its lines go from chunk to chunk, and are no image",
    "measure.marching_cubes": "its surface goes from chunk to chunk, and is no image",
    "segmentation.guarded_threshold": "it floods in the order of values over the whole image",
    "segmentation.slic": f"its last step goes over the whole image in one order; {_APART}",
    "segmentation.superpixel_classes": f"its superpixels are those of slic; {_APART}",
    "segmentation.watershed": f"it floods in the order of values over the whole image; {_APART}",
}
