"""Labels beside SciPy's and scikit-image's."""

import numpy as np
import pytest
import skimage.measure
from common import measure, noise, quantile
from scipy import ndimage as ndi

from gpuseg.measure import label

PEERS = {
    "gpuseg": lambda mask, connectivity: label(mask, connectivity=connectivity),
    "scipy": lambda mask, connectivity: ndi.label(
        mask, ndi.generate_binary_structure(mask.ndim, connectivity)
    )[0],
    "scikit-image": lambda mask, connectivity: skimage.measure.label(
        mask, connectivity=connectivity
    ),
}


@pytest.mark.parametrize("who", PEERS)
@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("connectivity", [1, 3])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
def bench_label(benchmark, who, kind, connectivity, density):
    image = noise((256, 256, 256), 3.0 if kind == "blobs" else 0.0)
    mask = image > quantile(image, 1 - density)
    case = f"label 256^3 {kind}, density {density}, connectivity {connectivity}"
    result = measure(
        benchmark, who, lambda: PEERS[who](mask, connectivity), case=case, voxels=mask.size
    )
    if who != "gpuseg":
        assert np.array_equal(result, PEERS["gpuseg"](mask, connectivity))
