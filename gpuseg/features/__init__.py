"""What is known of a voxel beside its value: its place, its neighbours, filters at several scales.

Functions take an image and give channels, on the last axis; transformers do the same to stacks of
images in a `sklearn.pipeline.Pipeline`, and in `gpuseg.pixels.PixelClassifier`.

Of a Dask array, functions give a lazy one in its chunks, equal to that of the whole; each chunk is
computed with what the filters reach around it.
"""

from .bank import feature_names, filter_bank
from .channels import feature_table, neighborhood, polynomial, position
from .transformers import (
    AddFilters,
    AddNeighborhood,
    AddPolynomial,
    AddPosition,
    FlattenImage,
    FlattenPixels,
)

__all__ = [
    "AddFilters",
    "AddNeighborhood",
    "AddPolynomial",
    "AddPosition",
    "FlattenImage",
    "FlattenPixels",
    "feature_names",
    "feature_table",
    "filter_bank",
    "neighborhood",
    "polynomial",
    "position",
]
