"""Scores of images that come piece by piece, because they are larger than memory."""

from __future__ import annotations

import numpy as np

from .._checks import beside, finite_array, same_shape
from . import classification, overlap, partitions
from .pairs import Pairs


class Tally:
    """Count pairs of true and found values piece by piece; then ask for any score of the whole.

    Every score equals that of the whole arrays at once: what is kept is how often each pair of
    values occurs. That is little for masks, classes and regions. Scores in floating point can be a
    pair a pixel: round them first, or give them as whole numbers.

    Attributes
    ----------
    size : int
        Pixels so far.
    y_true, y_found : arrays
        The pairs that occurred.
    counts : int64 array
        How often each did.

    Raises
    ------
    TypeError, ValueError
        By `add`: pieces that differ in shape, are empty, or hold NaN or infinity. By the scores:
        as their functions in `gpuseg.metrics`, and where nothing was added.

    Notes
    -----
    Memory: 24 bytes for each different pair, and while a piece is added, what counting it needs.
    `boundary_recall` and `explained_variation` have no method here, for they look at more than
    pairs; the former walks through memory maps piece by piece by itself.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
           :doi:`10.1016/j.patrec.2005.10.010`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.metrics import Tally, dice
    >>> rng = np.random.default_rng(0)
    >>> truth, found = rng.random((2, 40, 30, 30)) > 0.5
    >>> tally = Tally()
    >>> for z in range(0, 40, 10):
    ...     tally.add(truth[z : z + 10], found[z : z + 10])
    >>> tally.dice() == dice(truth, found)
    True
    """

    def __init__(self):
        self.size = 0
        self.y_true = self.y_found = self.counts = None
        self._paired = True
        self._absolute = self._squared = 0.0

    def add(self, y_true, y_found) -> None:
        """Count a piece.

        Parameters
        ----------
        y_true : array of real numbers or bool
            True classes, regions or values; in floating point, mean errors alone can be asked for.
        y_found : array of real numbers or bool, of the shape of `y_true`
            The classes, regions, values or scores that were found.
        """
        y_true, y_found = finite_array(y_true, "y_true"), finite_array(y_found, "y_found")
        same_shape(y_true, y_found, "y_true", "y_found")
        y_found = beside(y_found, y_true)
        if y_true.dtype.kind == "f":
            self._paired = False
            piece = y_true, y_found, None
        else:
            piece = classification.counted(y_true, y_found)
            self._join(*piece)
        self._absolute += classification.error_sum(*piece, np.abs)[0]
        self._squared += classification.error_sum(*piece, np.square)[0]
        self.size += y_true.size

    def merge(self, other: Tally) -> None:
        """Count what another tally has counted: of another thread or process.

        Parameters
        ----------
        other : Tally
        """
        if not isinstance(other, Tally):
            raise TypeError(f"other must be a Tally, got {type(other).__name__}")
        if other.counts is not None:
            self._join(other.y_true, other.y_found, other.counts)
        self._paired &= other._paired
        self._absolute += other._absolute
        self._squared += other._squared
        self.size += other.size

    def dice(self) -> float:
        """As `gpuseg.metrics.dice`."""
        return overlap.dice_of(*self._overlap())

    def jaccard(self) -> float:
        """As `gpuseg.metrics.jaccard`."""
        return overlap.jaccard_of(*self._overlap())

    def binary_accuracy(self) -> float:
        """As `gpuseg.metrics.binary_accuracy`."""
        return overlap.accuracy_of(*self._overlap())

    def confusion_matrix(self, **options):
        """As `gpuseg.metrics.confusion_matrix`, with its options."""
        return classification.confusion_matrix(**self._weighted("y_pred"), **options)

    def classification_report(self, **options):
        """As `gpuseg.metrics.classification_report`, with its options."""
        return classification.report_of(self._pairs(), **options)

    def roc_curve(self, **options):
        """As `gpuseg.metrics.roc_curve`, with its options."""
        return classification.roc_curve(**self._weighted("y_score"), **options)

    def roc_auc_score(self, **options):
        """As `gpuseg.metrics.roc_auc_score`, with its options."""
        return classification.roc_auc_score(**self._weighted("y_score"), **options)

    def precision_recall_curve(self, **options):
        """As `gpuseg.metrics.precision_recall_curve`, with its options."""
        return classification.precision_recall_curve(**self._weighted("y_score"), **options)

    def mean_absolute_error(self) -> float:
        """As `gpuseg.metrics.mean_absolute_error`."""
        return self._absolute / self._counted()

    def mean_squared_error(self) -> float:
        """As `gpuseg.metrics.mean_squared_error`."""
        return self._squared / self._counted()

    def variation_of_information(self, *, ignore_labels=()):
        """As `gpuseg.metrics.variation_of_information`."""
        return partitions.variation_of_information(table=self._table(ignore_labels))

    def adapted_rand_error(self, *, ignore_labels=(0,), alpha=0.5):
        """As `gpuseg.metrics.adapted_rand_error`."""
        return partitions.adapted_rand_error(table=self._table(ignore_labels), alpha=alpha)

    def undersegmentation_error(self) -> float:
        """As `gpuseg.metrics.undersegmentation_error`."""
        return partitions.leaks(self._indexed()) / self.size

    # --- parts --------------------------------------------------------------------------------

    def _counted(self) -> int:
        if not self.size:
            raise ValueError("nothing was added to the tally")
        return self.size

    def _pairs(self):
        self._counted()
        if not self._paired:
            raise ValueError("y_true came in floating point: a tally of it has mean errors alone")
        return classification.Counted(self.y_true, self.y_found, self.counts)

    def _weighted(self, name: str) -> dict:
        true, found, counts = self._pairs()
        return {"y_true": true, name: found, "sample_weight": counts}

    def _overlap(self) -> tuple[int, int, int, int]:
        true, found, counts = self._pairs()
        parts = ((true != 0) & (found != 0), true != 0, found != 0)
        return (*(int(counts[part].sum()) for part in parts), self.size)

    def _indexed(self) -> Pairs:
        true, found, counts = self._pairs()
        partitions.check_regions(true, found)
        firsts, first = np.unique(true, return_inverse=True)
        seconds, second = np.unique(found, return_inverse=True)
        return Pairs(firsts, seconds, first, second, counts)

    def _table(self, ignore_labels):
        return partitions.table_of(self._indexed(), ignore_labels)

    def _join(self, true, found, counts) -> None:
        parts = [classification.Counted(true, found, counts)]
        if self.counts is not None:
            parts.insert(0, self._pairs())
        self.y_true, self.y_found, self.counts = classification.joined(parts)
