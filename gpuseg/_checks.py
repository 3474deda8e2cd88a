"""Argument checks shared by the public layer: one clear message each, before any work."""

from __future__ import annotations

import contextlib
import math
import operator
import sys
import warnings
from collections.abc import Mapping
from numbers import Real

import numpy as np

from ._backend import array_namespace, asnumpy, is_cupy, is_dask, no_dask_form

# Of an image: nothing that is measured has more, and a neighborhood has 3 ** axes elements.
MOST_AXES = 8
# In voxels: no image is a hundredth of this long along an axis.
MOST_SIGMA = 1_000_000
MOST_FACTOR = 1_000_000
MOST_WINDOW = 65_535
MOST_BINS = 1 << 24
MOST_TERMS = 1_000_000
_INT64 = np.iinfo(np.int64)


def as_array(x, name: str):
    """Anything array-like as a NumPy or CuPy array in native byte order, copied only if need be.

    A Dask array stays one, and nothing of it is computed. Of a subclass of NumPy's array (a
    matrix, whose rows are never less than 2-D) the values are taken.
    """
    if not (isinstance(x, np.ndarray) or is_cupy(x) or is_dask(x)):
        x = _foreign_array(x, name)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a numpy.ma.MaskedArray, whose mask would be lost; "
            f"pass {name}.data, and the mask in its own argument"
        )
    if isinstance(x, np.ndarray) and not is_cupy(x) and type(x) not in (np.ndarray, np.memmap):
        x = np.asarray(x)
    if not is_cupy(x) and not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    return x


def in_memory(function, *arrays) -> None:
    """Refuse Dask arrays for a function that has no form for them."""
    if any(map(is_dask, arrays)):
        raise TypeError(no_dask_form(function))


def _foreign_array(x, name: str):
    if hasattr(x, "__cuda_array_interface__") or _dlpack_device_type(x) == 2:
        import cupy

        return cupy.from_dlpack(x) if hasattr(x, "__dlpack__") else cupy.asarray(x)
    if hasattr(x, "__array__"):
        return np.asarray(x)
    if hasattr(x, "__dlpack__"):
        return np.from_dlpack(x)
    if isinstance(x, list | tuple | Real):
        try:
            return np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{name} is not a rectangular array: {error}") from None
    raise TypeError(
        f"{name} must be an array (NumPy, CuPy, or an object with __array__ or DLPack), "
        f"got {type(x).__name__}"
    )


def _dlpack_device_type(x) -> int:
    return int(x.__dlpack_device__()[0]) if hasattr(x, "__dlpack_device__") else 0


def real_array(x, name: str = "image", *, ndim: int | tuple[int, ...] | None = None):
    """An image: a non-empty array of real numbers or bool with at least one axis."""
    x = as_array(x, name)
    if x.dtype.kind not in "buif":
        raise TypeError(
            f"{name} must hold real numbers (bool, integer or floating point), "
            f"got {type_name(x.dtype)}"
        )
    if x.dtype.itemsize > 8:
        raise TypeError(f"{name} must have at most 64 bits a number, got {x.dtype}")
    if x.ndim > MOST_AXES:
        raise ValueError(f"{name} must have at most {MOST_AXES} axes, got {x.ndim}")
    if x.ndim == 0:
        raise ValueError(f"{name} must have at least one axis, got a 0-d array")
    if ndim is not None and x.ndim not in ((ndim,) if isinstance(ndim, int) else ndim):
        raise ValueError(f"{name} must have {ndim} axes, got shape {x.shape}")
    if x.size == 0:
        raise ValueError(f"{name} is empty: shape {x.shape}")
    return x


def not_colours(
    function,
    image,
    hist=None,
    *,
    ndim: int | None = 3,
    instead: str = "turn it into grey values first",
) -> None:
    """Warn the caller of a public function that takes a picture of colours for a volume.

    Only that function itself may ask, and only the caller's code is told: neither another function
    of gpuseg, nor the command line, whose readers know of colours, nor `gpuseg.accel`, which leaves
    to scikit-image what it warns of. An `ndim` of None means three axes or more.
    """
    shape = getattr(image, "shape", None) or ()
    if isinstance(image, list | tuple):
        # What is not rectangular is refused by the check that follows.
        with contextlib.suppress(ValueError):
            shape = np.shape(image)
    if hist is not None or len(shape) < 3 or shape[-1] not in (3, 4):
        return
    if ndim not in (None, len(shape)):
        return
    caller = sys._getframe(2)
    if (caller.f_globals.get("__package__") or "").partition(".")[0] == __package__:
        return
    warnings.warn(
        f"{function.__name__} takes an image of shape {tuple(shape)} for a volume, but it looks "
        f"like a picture of {shape[-1]} colours; if it is one, {instead}",
        stacklevel=3,
    )


def finite_array(x, name: str = "image", *, ndim: int | tuple[int, ...] | None = None):
    """As `real_array`, without NaN and infinities; a Dask array says so when it is computed."""
    x = real_array(x, name, ndim=ndim)
    if is_dask(x):
        return in_chunks(finite_array, x, name) if x.dtype.kind == "f" else x
    # An extreme is NaN where an element is.
    if x.dtype.kind == "f" and not all(math.isfinite(v) for v in (x.min(), x.max())):
        raise ValueError(f"{name} holds NaN or infinity")
    return x


def without_nan(x, name: str = "image", *, ndim: int | tuple[int, ...] | None = None):
    """As `real_array`, without NaN; a Dask array says so when it is computed."""
    x = real_array(x, name, ndim=ndim)
    if x.dtype.kind != "f":
        return x
    if is_dask(x):
        return in_chunks(without_nan, x, name)
    if math.isnan(x.min()):
        raise ValueError(f"{name} holds NaN")
    return x


def finite_inside(x, mask, name: str = "image"):
    """As `finite_array`, of which only what a mask selects counts: 0 where it ends in NaN or
    infinity. An axis more than the mask's holds channels."""
    x = real_array(x, name)
    if mask is None or x.dtype.kind != "f":
        return finite_array(x, name)
    inside = mask if mask.ndim == x.ndim else mask[..., None]
    nothing = x.dtype.type(0)
    if is_dask(x) or is_dask(mask):
        # Of a Dask array's namespace, which takes the other one in.
        return finite_array(np.where(inside, x, nothing), name)
    if all(math.isfinite(v) for v in (x.min(), x.max())):
        return x
    x = array_namespace(x).where(beside(inside, x), x, nothing)
    try:
        return finite_array(x, name)
    except ValueError as error:
        raise ValueError(f"{error} within the mask") from None


# Between these exponents a type of so many bytes holds squares of what is compared, and their sums.
_MODERATE = {4: (-60, 60), 8: (-531, 503)}


def moderate(x, mask=None, *, squares_in=np.float32):
    """An array of finite numbers, divided by a power of two where a type could not hold the
    squares of its values, and the exponent of that power. What a mask leaves out is not looked at,
    and 0 where anything is divided; an axis more than the mask's holds channels."""
    if x.dtype.kind != "f" or x.dtype.itemsize < 4 or (is_dask(x) and x.dtype.itemsize < 8):
        return x, 0
    usual = _MODERATE[np.dtype(squares_in).itemsize]
    exponent = _exponent(x, usual)
    if mask is not None and exponent is not None:
        inside = mask if mask.ndim == x.ndim else mask[..., None]
        x = (np if is_dask(mask) else array_namespace(x)).where(inside, x, x.dtype.type(0))
        exponent = _exponent(x, usual)
    if exponent is None:
        return x, 0
    # In two steps: one factor may be too great for float64.
    half = exponent // 2
    x = x.astype(np.float64) * 2.0**-half * 2.0 ** (half - exponent)
    return x, exponent


def _exponent(x, usual: tuple[int, int]) -> int | None:
    """The exponent of the greatest magnitude; None where it is moderate."""
    low, high = x.min(), x.max()
    if is_dask(x):
        import dask

        low, high = dask.compute(low, high)
    exponent = math.frexp(max(abs(float(low)), abs(float(high))))[1]
    return None if usual[0] < exponent < usual[1] or low == high == 0 else exponent


def times_power(x, exponent):
    """Numbers times powers of two, infinite where that is beyond float64."""
    if not np.any(exponent):
        return x
    xp = array_namespace(x) if is_cupy(x) else np
    with np.errstate(over="ignore"):
        return xp.ldexp(x, xp.asarray(exponent) if np.ndim(exponent) else exponent)


def footprint_array(x, image, name: str = "footprint"):
    """A small array of finite numbers with as many axes as an image."""
    if is_dask(x):
        raise TypeError(f"{name} must be an array in memory, got a Dask array")
    x = finite_array(x, name)
    if x.ndim != image.ndim:
        raise ValueError(f"{name} must have the image's {image.ndim} axes, got shape {x.shape}")
    return x


def integer_array(x, name: str, *, or_bool: bool = True, ndim: int | None = None):
    """As `real_array`, of integers, or of bool where that counts as two labels."""
    x = real_array(x, name, ndim=ndim)
    if x.dtype.kind not in ("bui" if or_bool else "ui"):
        raise TypeError(f"{name} must hold integers{' or bool' * or_bool}, got {x.dtype}")
    return x


def of_one_type(arrays, name: str = "labels"):
    """Arrays of integers or bool as ones whose types have a common one: int64 and uint64 have not.

    Others stay as they are. Numbers below 0 beside such from 2**63 on are an error.
    """
    if any(a.dtype.kind not in "bui" for a in arrays):
        return arrays
    if np.result_type(*(a.dtype for a in arrays)).kind != "f":
        return arrays
    least, most = min(int(a.min()) for a in arrays), max(int(a.max()) for a in arrays)
    if least < 0 and most >= 2**63:
        raise ValueError(f"{name} must be of one integer type, got numbers from {least} to {most}")
    return [a.astype(np.int64 if most < 2**63 else np.uint64) for a in arrays]


def not_negative(x, name: str):
    """An array of integers or bool of which none is below 0."""
    if x.dtype.kind != "i":
        return x
    if is_dask(x):
        return in_chunks(not_negative, x, name)
    if int(x.min()) < 0:
        raise ValueError(f"{name} must not be negative, got {int(x.min())}")
    return x


def in_chunks(check, x, name: str):
    """A Dask array whose chunks are checked when they are computed."""
    return x.map_blocks(_checked_chunk, check, name, dtype=x.dtype, meta=x._meta)


def _checked_chunk(chunk, check, name: str):
    return check(chunk, name) if chunk.size else chunk


def beside(x, other):
    """An array where another one is: in its memory, or lazy as one of them."""
    if is_dask(x) or is_dask(other):
        return x
    return array_namespace(other).asarray(x) if is_cupy(other) else asnumpy(x)


def axis(x, name: str, ndim: int) -> int:
    """The number of one of `ndim` axes, counted from the first."""
    value = integer(x, name)
    if not -ndim <= value < ndim:
        raise ValueError(
            f"{name} must be one of the {ndim} axes, -{ndim} to {ndim - 1}, got {value}"
        )
    return value % ndim


def bool_array(x, name: str = "image"):
    """A binary image: as `without_nan`, any non-zero value taken as True."""
    x = without_nan(x, name)
    return x if x.dtype == bool else x != 0


def mask_array(mask, image, name: str = "mask"):
    """None, or a bool array of the image's shape, on the image's device, that selects something."""
    if mask is None:
        return None
    mask = as_array(mask, name)
    if mask.shape != image.shape:
        raise ValueError(
            f"{name} must have the shape of the image, {image.shape}, got {mask.shape}"
        )
    if mask.dtype.kind not in "bui":
        raise TypeError(
            f"{name} must be bool (or integer, non-zero meaning inside), "
            f"got {type_name(mask.dtype)}"
        )
    mask = mask if mask.dtype == bool else mask != 0
    if is_dask(mask):
        return mask
    if not mask.any():
        raise ValueError(f"{name} selects no element")
    return beside(mask, image)


def same_shape(x, other, name: str, others_name: str) -> None:
    if x.shape != other.shape:
        raise ValueError(
            f"{name} and {others_name} must have one shape, got {x.shape} and {other.shape}"
        )


def number(x, name: str, *, above=None, at_least=None, at_most=None, finite: bool = True):
    """A real number in a range; NumPy scalars and 0-d arrays count, bool and strings do not.

    What is no int comes back as a float; what float64 cannot hold is refused.
    """
    value = x.item() if hasattr(x, "item") and getattr(x, "ndim", None) == 0 else x
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {shown(x)}")
    try:
        as_float = float(value)
    except OverflowError:
        raise ValueError(f"{name} must fit in float64, got {shown(x)}") from None
    value = value if isinstance(value, int) else as_float
    if math.isnan(as_float) or (finite and math.isinf(as_float)):
        raise ValueError(f"{name} must be finite, got {value}")
    _within(value, name, above=above, at_least=at_least, at_most=at_most)
    return value


def in_order(low, high) -> None:
    """Refuse thresholds that are numbers in the wrong order; arrays may cross."""
    if np.ndim(low) or np.ndim(high):
        return
    low, high = (t.item() if hasattr(t, "item") else t for t in (low, high))
    if low > high:
        raise ValueError(f"low must not be above high, got low={low} and high={high}")


def integer(x, name: str, *, at_least=_INT64.min, at_most=_INT64.max) -> int:
    """A whole number in a range, of int64 if none is given; bool does not count."""
    if isinstance(x, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got {shown(x)}")
    try:
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {shown(x)}") from None
    _within(value, name, at_least=at_least, at_most=at_most)
    return value


def _within(value, name: str, *, above=None, at_least=None, at_most=None) -> None:
    for ok, text in (
        (above is None or value > above, f"greater than {above}"),
        (at_least is None or value >= at_least, f"at least {at_least}"),
        (at_most is None or value <= at_most, f"at most {at_most}"),
    ):
        if not ok:
            came = value if abs(value) < 1e300 else shown(value)
            raise ValueError(f"{name} must be {text}, got {came}")


def flags(**given) -> None:
    """Refuse what is neither True nor False (or 1 or 0), an array of them for one."""
    for name, value in given.items():
        if not (isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1))):
            raise TypeError(f"{name} must be True or False, got {shown(value)}")


def option(x, name: str, allowed):
    """One of a few values."""
    # An array has no one answer to "in", and a list cannot be looked up.
    plain = x is None or isinstance(x, str | bytes | Real)
    if not (any(x is value for value in allowed) or (plain and x in allowed)):
        listed = ", ".join(map(repr, allowed))
        raise ValueError(f"{name} must be one of {listed}, got {shown(x, kind=not plain)}")
    return x


def mapping(x, name: str) -> dict:
    """What has names and values; None has none."""
    if x is None:
        return {}
    if not isinstance(x, Mapping):
        raise TypeError(f"{name} must be a mapping of names to values, got {shown(x)}")
    return dict(x)


def number_type(x, name: str) -> np.dtype:
    """A type of real numbers or bool, however it is named."""
    try:
        dtype = np.dtype(x)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a type of NumPy, got {shown(x)}") from None
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise TypeError(f"{name} must be a type of real numbers, got {type_name(dtype)}")
    return dtype


def place(x, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """An index of an element of an array of a shape."""
    x = sequence(x, name, "integers")
    if len(x) != len(shape):
        raise ValueError(f"{name} must have one index for each of {len(shape)} axes, got {len(x)}")
    return tuple(integer(v, name, at_least=0, at_most=n - 1) for v, n in zip(x, shape, strict=True))


def several(x) -> bool:
    """Whether something holds values, and is not one."""
    return isinstance(x, list | tuple | range) or (
        (isinstance(x, np.ndarray) or is_cupy(x)) and x.ndim > 0
    )


def sequence(x, name: str, of: str) -> tuple:
    """The elements of a list, a tuple or an array of one axis, which a string is not."""
    if isinstance(x, np.ndarray) and x.ndim == 1:
        x = x.tolist()
    if not isinstance(x, list | tuple | range):
        raise TypeError(f"{name} must be a sequence of {of}, got {shown(x)}")
    return tuple(x)


def output(out, shape, dtype, name: str = "out"):
    """`out`, which must have a shape and take a type: an array, also one in a file (Zarr, HDF5)."""
    arrayish = all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__"))
    if not arrayish or is_dask(out):
        raise TypeError(f"{name} must be an array of shape {shape}, got {shown(out)}")
    if out.shape != shape:
        raise ValueError(f"{name} must be an array of shape {shape}, got {out.shape}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError(f"{name} must be an array that can be written to")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"{name} must take {dtype}, got {type_name(out.dtype)}")
    return out


def not_for_lazy(**given) -> None:
    """Refuse what a lazy result has no use for."""
    for name, value in given.items():
        if value is not None:
            raise TypeError(f"{name} must be None for Dask arrays, whose result is lazy")


def into(out, result, name: str = "out"):
    """`result`, or `out` with the result in it."""
    if out is None:
        return result
    if is_dask(result):
        not_for_lazy(**{name: out})
    output(out, result.shape, result.dtype, name)[...] = result
    return out


def per_axis(
    x, name: str, ndim: int, *, above=None, at_least=None, at_most=None
) -> tuple[float, ...]:
    """A number, or one for each axis, as a tuple of `ndim` numbers."""
    if not several(x):
        return (number(x, name, above=above, at_least=at_least, at_most=at_most),) * ndim
    if len(x) != ndim:
        raise ValueError(
            f"{name} must be a number or have one for each of {ndim} axes, got {shown(x)}"
        )
    return tuple(number(v, name, above=above, at_least=at_least, at_most=at_most) for v in x)


def shown(x, *, kind: bool = True) -> str:
    """What came, in a line of a message."""
    try:
        text = " ".join(repr(x).split())
    except ValueError:  # an int of thousands of digits
        text = "beyond all measure"
    text = text if len(text) <= 40 else text[:37] + "..."
    return f"{type(x).__name__} {text}" if kind else text


def type_name(dtype) -> str:
    """A type in a word or two; a structure may have many fields."""
    text = " ".join(str(dtype).split())
    return text if len(text) <= 40 else text[:37] + "..."
