"""Model files that say what cannot be: one line within a second, in little memory, and no code run.

A file with a right checksum is not a right file: whoever can write it can compute that. Each part
of a header and each array is put in the place of something else; what is still taken must predict.
"""

import contextlib
import copy
import hashlib
import io
import json
import struct
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from gpuseg import _models
from gpuseg._models import ModelError
from gpuseg.estimators import (
    DecisionTreeClassifier,
    KMeans,
    KNeighborsClassifier,
    Pipeline,
    PolynomialFeatures,
    QuantileTransformer,
    RandomForestClassifier,
    RobustScaler,
)
from gpuseg.features import AddFilters, AddNeighborhood, AddPolynomial, AddPosition
from gpuseg.pixels import PixelClassifier

ESTIMATORS = {
    "forest": RandomForestClassifier(3, max_depth=3, random_state=0),
    "neighbors": KNeighborsClassifier(3, metric_params={}),
    "pipeline": Pipeline([
        ("scale", RobustScaler()), ("places", QuantileTransformer(n_quantiles=5)),
        ("groups", KMeans(2, n_init=1, random_state=0)),
        ("more", Pipeline([("products", PolynomialFeatures(2))])),
        ("tree", DecisionTreeClassifier(max_depth=3, random_state=0)),
    ]),
}  # fmt: skip
CHAIN = [AddFilters(sigmas=(1,), kinds=("gaussian",)), AddPosition(polar=True),
         AddNeighborhood(1), AddPolynomial((1, 1))]  # fmt: skip
IMAGE = np.random.default_rng(0).random((9, 10)).astype(np.float32)
# Instead of whatever is there; among them numbers too large for memory, and for 64 bits.
VALUES = [None, True, -1, 0, 1, 2, 3, 1.5, 10**9, 2**63, 10**400, float("nan"), float("inf"), "",
          "x", "os.system", [], [1], [[1, 2], [3]], {}, {"dict": []}, {"dict": [[1, 2]]},
          {"class": "Pipeline", "steps": []}]  # fmt: skip


@pytest.fixture(scope="module", params=ESTIMATORS)
def saved(request, tmp_path_factory):
    """The header and the arrays of a model, and a path to write others to."""
    path = tmp_path_factory.mktemp("models") / "model.gpuseg"
    labels = np.where(IMAGE > 0.5, 1, 2)
    PixelClassifier(CHAIN, ESTIMATORS[request.param]).fit(IMAGE, labels).save(path)
    load(path)  # imports, compiles
    return *_models.contents(path), path


def written(path, header, arrays) -> None:
    payload = io.BytesIO()
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    np.savez(payload, allow_pickle=False, header=np.frombuffer(text, np.uint8), **arrays)
    sealed(path, payload.getvalue())


def sealed(path, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    path.write_bytes(f"gpuseg pixel classifier 1 sha256 {digest}\n".encode() + content)


def load(path) -> bool:
    """Whether a file is taken; if it is, its model predicts what a model can."""
    try:
        model = PixelClassifier.load(path)
    except ModelError as refusal:
        text = str(refusal)
        if "\n" in text or path.name not in text or len(text) > len(str(path)) + 400:
            raise AssertionError(f"no good line: {text!r}") from None
        return False
    image = IMAGE if model.ndim_ == 2 else np.stack([IMAGE] * 3)
    if model.channel_axis is not None:
        image = np.stack([image] * model.n_channels_, model.channel_axis)
    likely = model.predict_proba(image)
    assert likely.shape[-1] == len(model.classes_)
    assert np.isfinite(likely).all()
    assert (likely >= 0).all()
    assert np.isin(model.predict(image), model.classes_).all()
    return True


def quick(path) -> bool:
    start = time.perf_counter()
    taken = load(path)
    assert taken or time.perf_counter() - start < 1
    return taken


def frugal(path) -> bool:
    tracemalloc.start()
    try:
        taken = load(path)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
        return taken
    finally:
        tracemalloc.stop()


def places(value, at=()):
    """The path to each part of what JSON can say."""
    yield at
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*at, key))


def alternatives(header, at, values):
    """Those of the values that are not there already, and none at all."""
    part = header
    for key in at:
        part = part[key]
    return [places] * bool(at) + [x for x in values if type(x) is not type(part) or x != part]


def changed(header, at, value):
    """The header with another value in a place, or without it."""
    if not at:
        return value
    header = copy.deepcopy(header)
    *path, last = at
    part = header
    for key in path:
        part = part[key]
    if value is places:
        del part[last]
    else:
        part[last] = copy.deepcopy(value)
    return header


def test_the_file_itself_is_taken(saved):
    header, arrays, path = saved
    written(path, header, arrays)
    assert quick(path)


def test_other_headers(saved, rng):
    """Each part by a few of the values, at random; and each left out."""
    header, arrays, path = saved
    taken = set()
    tried = [at for at in places(header) if at[:1] != ("versions",)]
    for at in tried:
        some = [VALUES[i] for i in rng.permutation(len(VALUES))[:4]]
        for value in alternatives(header, at, some):
            written(path, changed(header, at, value), arrays)
            if quick(path):
                taken.add(at)
    # What is of no use to a fitted model may be anything that it could have been fitted with.
    shape = {("n_channels",), ("ndim",), ("estimator", "class"), ("estimator", "name")}
    assert not taken & shape


@pytest.mark.parametrize(
    "change",
    [
        {"n_channels": 10**9}, {"n_channels": 10**9, "channel_axis": -1}, {"n_channels": -1},
        {"n_channels": 1.0}, {"n_channels": True}, {"n_channels": 2}, {"ndim": 4}, {"ndim": "2"},
        {"channel_axis": 3, "n_channels": 1}, {"channel_axis": 0.0}, {"extra": 1}, {"features": []},
        {"features": [{"class": "AddNeighborhood", "parameters": {"radius": 10**5}}]},
        {"features": [{"class": "AddNeighborhood", "parameters": {"radius": 10**400}}]},
        {"features": [{"class": "AddPolynomial", "parameters": {"degree": 10**9}}]},
        {"features": [{"class": "AddPolynomial", "parameters": {"degree": [10**9, 10**9 + 9]}}]},
        {"features": [{"class": "AddPolynomial", "parameters": {"interaction_only": 1}}]},
        {"features": [{"class": "AddFilters", "parameters": {"sigmas": [1e300]}}]},
        {"features": [{"class": "AddFilters", "parameters": {"mode": "wrap"}}]},
        {"features": [{"class": "AddPosition", "parameters": {}}] * 3000},
        {"features": [{"class": "AddNeighborhood", "parameters": {}}] * 40},
    ],
    ids=lambda change: str(change)[:60],
)  # fmt: skip
def test_headers_that_ask_for_too_much(saved, change):
    header, arrays, path = saved
    written(path, header | change, arrays)
    assert not quick(path)
    assert not frugal(path)


def test_a_chain_that_grows_and_shrinks_again(saved):
    """Pairs of 100 000 channels would be of billions, of which a product of all makes one."""
    header, arrays, path = saved
    many = {"class": "AddNeighborhood", "parameters": {"radius": 150}}
    all_of_them = {"degree": [90_601, 90_601], "interaction_only": True}
    header = header | {"features": [many, {"class": "AddPolynomial", "parameters": all_of_them}]}
    written(path, header, arrays)
    assert not quick(path)


def test_a_header_that_nests_deeply(saved):
    header, arrays, path = saved
    for text in (b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b"\xff\xfe", b"", b"[]"):
        written(path, text, arrays)
        assert not quick(path)
    inner = header["estimator"]
    for _ in range(300):
        inner = {"class": "Pipeline", "steps": [["a", inner]]}
    written(path, header | {"estimator": inner}, arrays)
    assert not quick(path)


# --- arrays -----------------------------------------------------------------------------------


def others(array):
    """Arrays that could be in the place of one."""
    for dtype in (
        np.float16,
        np.float64,
        np.int8,
        np.uint64,
        bool,
        np.complex128,
        "S3",
        "U2",
        "M8[s]",
    ):
        with contextlib.suppress(TypeError, ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = array.astype(dtype)
            if other.dtype != array.dtype:
                yield other
    yield array[..., None]
    yield array.ravel()[:0]
    yield np.concatenate([array.ravel()] * 2)
    yield array.reshape(-1)[:1].reshape(())
    if array.ndim:
        yield array[:-1]
        yield array[::-1].copy()
    if array.ndim == 2:
        yield np.asfortranarray(array.T)
    if array.dtype.kind in "iuf":
        for value in (-1, 0, 1, 3, np.inf, -np.inf, np.nan, 2**31 - 1, -(2**31)):
            with contextlib.suppress(OverflowError, ValueError):
                for where in (0, array.size // 2, -1):
                    other = array.copy()
                    other.reshape(-1)[where] = value
                    yield other
                yield np.full_like(array, value)


def test_other_arrays(saved, rng):
    header, arrays, path = saved
    for name in arrays:
        rest = {key: array for key, array in arrays.items() if key != name}
        written(path, header, rest)
        assert not quick(path)
        tried = list(others(arrays[name]))
        for i in rng.permutation(len(tried))[:14]:
            written(path, header, rest | {name: tried[i]})
            quick(path)
    written(path, header, arrays | {"more": np.zeros(3)})
    assert not quick(path)


def test_arrays_that_no_fit_makes(saved):
    """Among them what was taken once: NaN in leaves, 1.5 outputs, classes NaN or complex."""
    header, arrays, path = saved
    cases = {
        "estimator.values": (np.nan, np.inf, -1), "estimator.thresholds": (np.nan,),
        "estimator.features": (-1, 10**6), "estimator.children": (0, 10**6, -(10**6)),
        "estimator.roots": (10**6,), "estimator.n_features": (-1, 0, 3),
        "estimator.feature_importances": (np.nan, -1), "estimator.references": (np.nan, np.inf),
        "estimator.0.scale_": (0, -1, np.nan), "estimator.0.center_": (np.inf,),
        "estimator.1.quantiles_": (np.nan, 9), "estimator.1.references_": (-1, 2),
        "estimator.1.n_quantiles_": (0, 6), "estimator.2.cluster_centers_": (np.nan,),
        "estimator.2._n_features_out": (-1, 7), "estimator.3.0.n_output_features_": (-1, 7),
        "estimator.4.values": (np.nan,),
    }  # fmt: skip
    for name in cases.keys() & arrays.keys():
        for value in cases[name]:
            other = arrays[name].copy()
            other.reshape(-1)[0] = value
            written(path, header, arrays | {name: other})
            assert not quick(path), (name, value)
    prefix = next((n.removesuffix("n_outputs") for n in arrays if n.endswith("n_outputs")), None)
    if prefix:
        for name, other in [
            ("n_outputs", np.array(1.5)), ("n_outputs", np.array(2)), ("n_outputs", np.array(-1)),
            ("classes_0", np.array([1.0, np.nan])), ("classes_0", np.array([1, 2j])),
            ("classes_0", np.array([2, 1])), ("classes_0", np.array([1, 1])),
            ("classes_0", np.array(["a", "b"])), ("classes_0", np.array([1.0, 2.0])),
            ("children", arrays[f"{prefix}children"] * 0),
        ]:  # fmt: skip
            written(path, header, arrays | {prefix + name: other})
            assert not quick(path), (name, other)
    else:
        for other in (np.array([1, 2]), arrays["estimator.targets"] + 0.5):
            written(path, header, arrays | {"estimator.targets": other})
            assert not quick(path)


def test_big_endian_arrays_are_the_same_model(saved):
    header, arrays, path = saved
    swapped = {k: a.astype(a.dtype.newbyteorder(">")) for k, a in arrays.items()}
    written(path, header, swapped)
    assert quick(path)


# --- archives ---------------------------------------------------------------------------------


def npy(shape: str, dtype: str, data: bytes = b"") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(entries, compression=zipfile.ZIP_STORED) -> bytes:
    payload = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(payload, "w", compression) as file:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in entries:
            file.writestr(name, content)
    return payload.getvalue()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("(10**12,)", "'<f8'"), ("(1000000000000,)", "'<f8'"), ("(-1,)", "'<f8'"),
        ("(True,)", "'|b1'"),
        ("(0, 1000000000000)", "'<f8'"), (f"({', '.join('1' * 70)})", "'|b1'"), ("(1,)", "'|O'"),
        ("(1,)", "[('a', '<f8')]"), ("(1,)", "'<M8[s]'"), ("(1,)", "'|V8'"), ("(4,)", "'<U0'"),
        ("(1,)", "'<c16'"), ("(1.5,)", "'<f8'"), ("'x'", "'<f8'"), ("(1,)", "('<f8', (4,))"),
    ],
)  # fmt: skip
def test_arrays_that_claim_what_is_not_there(saved, shape, dtype):
    _, _, path = saved
    text = json.dumps({"x": 1}).encode()
    entries = [
        ("header.npy", npy(f"({len(text)},)", "'|u1'", text)),
        ("a.npy", npy(shape, dtype, b"12345678")),
    ]
    sealed(path, archive(entries))
    with pytest.raises(ModelError, match=r"cannot be read|is no model"):
        PixelClassifier.load(path)
    assert not quick(path)


def test_archives_of_a_bomb(saved):
    _, _, path = saved
    good = npy("(8,)", "'|u1'", b"12345678")
    bomb = npy("(50000000,)", "'|u1'", bytes(50_000_000))
    for entries, compression, said in [
        ([("a.npy", bomb)], zipfile.ZIP_DEFLATED, "is compressed"),
        ([("a.npy", good), ("a.npy", good)], zipfile.ZIP_STORED, "is there twice"),
        ([("a", good)], zipfile.ZIP_STORED, "is no array"),
        ([("a.npy", good)], zipfile.ZIP_STORED, "header"),
        ([("a.npy", b"")], zipfile.ZIP_STORED, "cannot be read"),
        ([("a.npy", b"\x93NUMPY\x03\x00")], zipfile.ZIP_STORED, "version"),
        ([(f"{i}.npy", good) for i in range(9000)], zipfile.ZIP_STORED, "too many"),
    ]:
        sealed(path, archive(entries, compression))
        with pytest.raises(ModelError, match=said):
            PixelClassifier.load(path)
        assert not quick(path)
        assert not frugal(path)


def test_entries_that_lie_over_each_other(saved):
    """The archive's list points a second entry into the first one's data, where a whole one is."""
    _, _, path = saved
    small = ("b.npy", npy("(8,)", "'|u1'", b"12345678"))
    inner = archive([small])
    content = bytearray(archive([("a.npy", npy(f"({len(inner)},)", "'|u1'", inner)), small]))
    within = content.index(inner)
    entry = content.rindex(b"PK\x01\x02")  # of b.npy, the last in the list
    content[entry + 42 : entry + 46] = struct.pack("<I", within)
    sealed(path, bytes(content))
    with pytest.raises(ModelError, match=r"lies over|[Oo]verlap"):
        PixelClassifier.load(path)
    sealed(path, archive([small])[:-1])
    assert not quick(path)


@pytest.mark.parametrize("where", [0, 8, 18, 22, 26, 28, 30])
def test_bytes_of_an_entry(saved, where):
    header, arrays, path = saved
    written(path, header, arrays)
    content = bytearray(path.read_bytes().split(b"\n", 1)[1])
    for start in (content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")):
        for value in (0, 1, 0xFF):
            other = bytearray(content)
            other[start + where] = value
            sealed(path, bytes(other))
            quick(path)


# --- networks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    pytest.importorskip("torch")
    from gpuseg import unet
    from gpuseg.unet import files

    model = unet.UNet(2, 3, base=2, depth=1, norm="batch", upsample="transpose", seed=0)
    path = tmp_path_factory.mktemp("networks") / "model.safetensors"
    return files.header_of(model), files._tensors(model), path


def taken(network, header, tensors) -> bool:
    from gpuseg import unet
    from gpuseg.unet import files

    path = network[2]
    files.write_tensors(path, tensors, header, force=True)
    start = time.perf_counter()
    try:
        model = unet.load(path)
    except ModelError as refusal:
        assert "\n" not in str(refusal)  # noqa: PT017
        assert time.perf_counter() - start < 1
        return False
    likely = unet.predict_proba(model, np.stack([IMAGE] * 2), channel_axis=0)
    assert np.isfinite(likely).all()
    return True


def test_other_headers_of_networks(network):
    header, tensors, _ = network
    assert taken(network, header, tensors)
    same = set()
    for at in list(places(header))[1:]:
        for value in alternatives(header, at, VALUES):
            if taken(network, changed(header, at, value), tensors):
                same.add(at)
    # Any finite numbers can be means and scales.
    assert {at[:2] for at in same} <= {("normalization", "mean"), ("normalization", "std")}


def test_other_tensors_of_networks(network):
    torch = pytest.importorskip("torch")
    header, tensors, _ = network
    for name, tensor in tensors.items():
        rest = {key: x for key, x in tensors.items() if key != name}
        assert not taken(network, header, rest)
        assert not taken(network, header, rest | {f"{name}x": tensor})
        kinds = ("float64", "float16", "bfloat16", "int8", "bool", "complex64")
        others = [tensor.to(getattr(torch, kind)) for kind in kinds]
        others += [tensor[..., None], tensor.reshape(-1)[:0]]
        if tensor.is_floating_point():
            others += [torch.full_like(tensor, x) for x in (float("nan"), float("inf"))]
        if name.endswith("running_var"):
            others.append(-tensor)
        for other in others:
            assert not taken(network, header, rest | {name: other}), (name, other.dtype)
    assert not taken(network, header, tensors | {"mean": torch.zeros(2)})
