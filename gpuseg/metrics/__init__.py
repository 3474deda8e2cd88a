"""How well a segmentation matches another one: masks, regions, classes, scores.

Dask arrays are counted chunk by chunk, at once; a `hit_map` of them is lazy. Scores are those of
the whole, whatever the chunks; sums of weights in floating point to 1e-12. In memory there are,
beside the chunks at work, 24 bytes for each different pair of values.
"""

from .classification import (
    classification_report,
    confusion_matrix,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)
from .overlap import binary_accuracy, dice, hit_map, jaccard
from .partitions import (
    adapted_rand_error,
    boundary_recall,
    explained_variation,
    undersegmentation_error,
    variation_of_information,
)
from .streaming import Tally

__all__ = [
    "Tally",
    "adapted_rand_error",
    "binary_accuracy",
    "boundary_recall",
    "classification_report",
    "confusion_matrix",
    "dice",
    "explained_variation",
    "hit_map",
    "jaccard",
    "mean_absolute_error",
    "mean_squared_error",
    "precision_recall_curve",
    "roc_auc_score",
    "roc_curve",
    "undersegmentation_error",
    "variation_of_information",
]
