"""The CUDA kernels of the filter bank, in the simulator, against NumPy and SciPy."""

import itertools

import numpy as np
import pytest
import scipy.ndimage as ndi

from gpuseg.kernels.features import derive_cuda, eigenvalues_cuda, products_cuda


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_eigenvalues(rng, ndim, dtype):
    """Equal, nearly equal, zero, huge and tiny ones among them."""
    turn, _ = np.linalg.qr(rng.standard_normal((40, ndim, ndim)))
    values = rng.standard_normal((40, ndim))
    values[:10, 1:] = values[:10, :1]
    values[10:20, 1] = values[10:20, 0] + 10.0 ** rng.uniform(-12, -1, 10)
    values[20:25] = 0
    values *= 10.0 ** rng.integers(-20, 20, (40, 1))
    matrices = (turn * values[:, None] @ turn.swapaxes(1, 2)).astype(dtype)
    diagonal = np.stack([matrices[:, a, a] for a in range(ndim)])
    pairs = itertools.combinations(range(ndim), 2)
    others = np.stack([matrices[:, b, a] for a, b in pairs])
    eigenvalues_cuda(diagonal, others)
    expected = np.linalg.eigvalsh(matrices.astype("f8"))[:, ::-1].T
    assert (np.abs(diagonal - expected) <= 1e-7 * np.abs(expected).max(0)).all()
    assert (np.diff(diagonal, axis=0) <= 0).all()


@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest", "mirror", "wrap"])
@pytest.mark.parametrize("shape", [(3, 4), (1, 3), (2, 3, 3), (3, 1, 2)], ids=str)
def test_derivatives(rng, shape, mode):
    image = rng.standard_normal(shape)
    ndim = image.ndim
    out = np.empty((2, image.size))
    derive_cuda(image.ravel(), shape, mode, (0, 1, -1), out)
    slopes = [ndi.sobel(image, axis=a, mode=mode) for a in range(ndim)]
    magnitude = np.sqrt(sum(s**2 for s in slopes) / ndim) / 4 ** (ndim - 1)
    np.testing.assert_allclose(out[0].reshape(shape), magnitude, atol=1e-13)
    np.testing.assert_allclose(out[1].reshape(shape), -ndi.laplace(image, mode=mode), atol=1e-13)
    pairs = [(a, a) for a in range(ndim)] + list(itertools.combinations(range(ndim), 2))
    products = np.empty((len(pairs), image.size))
    products_cuda(image.ravel(), shape, mode, products)
    for (a, b), product in zip(pairs, products):
        np.testing.assert_allclose(product.reshape(shape), slopes[a] * slopes[b], atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2), (3, 4), (2, 3, 4), (3, 3, 2)], ids=str)
def test_hessian(rng, shape):
    image = rng.standard_normal(shape)
    ndim = image.ndim
    out = np.full((ndim + 1, image.size), 7.0)
    derive_cuda(image.ravel(), shape, "nearest", (-1, -1, 1), out)
    matrices = np.empty((*shape, ndim, ndim))
    for a, b in itertools.combinations_with_replacement(range(ndim), 2):
        second = np.gradient(np.gradient(image, axis=a), axis=b)
        matrices[..., a, b] = matrices[..., b, a] = second
    expected = np.moveaxis(np.linalg.eigvalsh(matrices), -1, 0)[::-1].reshape(ndim, -1)
    np.testing.assert_allclose(out[1:], expected, atol=1e-7)
    assert (out[0] == 7).all()
