"""Sixty-four voxels at a time: vector compares into bit masks, and bit masks into bool bytes.

Numba has no vector types, so these are written as LLVM vectors of 64 elements; LLVM splits them
into whatever the processor has. A word holds voxel k of its piece of a row in bit k.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .kept import njit

_ELEMENTS = {
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    **{f"{sign}int{bits}": ir.IntType(bits) for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_BOOLS = ir.VectorType(ir.IntType(1), 64)
_BYTES = ir.VectorType(ir.IntType(8), 64)


def _vector_pointer(context, builder, array_type, array, index, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _every(builder, vector, value):
    """A vector that holds a value in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
    return builder.shuffle_vector(one, undefined, lanes)


@intrinsic
def greater64(typingctx, array, index, threshold):
    """Bit k is ``array[index + k] > threshold``, for a 1-D array; NaN compares false."""
    signature = types.uint64(array, types.intp, array.dtype)

    def codegen(context, builder, signature, args):
        values, start, limit = args
        element = _ELEMENTS[str(array.dtype)]
        vector = ir.VectorType(element, 64)
        load = builder.load(_vector_pointer(context, builder, array, values, start, vector))
        load.align = array.dtype.bitwidth // 8
        limits = _every(builder, vector, limit)
        if isinstance(array.dtype, types.Float):
            greater = builder.fcmp_ordered(">", load, limits)
        elif array.dtype.signed:
            greater = builder.icmp_signed(">", load, limits)
        else:
            greater = builder.icmp_unsigned(">", load, limits)
        return builder.bitcast(greater, ir.IntType(64))

    return signature, codegen


@intrinsic
def store64(typingctx, array, index, word):
    """Write bit k of `word` to ``array[index + k]`` as a byte 0 or 1, for a 1-D uint8 array."""
    signature = types.void(array, types.intp, types.uint64)

    def codegen(context, builder, signature, args):
        values, start, bits = args
        pointer = _vector_pointer(context, builder, array, values, start, _BYTES)
        store = builder.store(builder.zext(builder.bitcast(bits, _BOOLS), _BYTES), pointer)
        store.align = 1
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def spread64(typingctx, array, index, word, value):
    """Write ``value if bit k of word else 0`` to ``array[index + k]``, for a 1-D array."""
    signature = types.void(array, types.intp, types.uint64, array.dtype)

    def codegen(context, builder, signature, args):
        values, start, bits, one = args
        vector = ir.VectorType(_ELEMENTS[str(array.dtype)], 64)
        pointer = _vector_pointer(context, builder, array, values, start, vector)
        which = builder.bitcast(bits, _BOOLS)
        zeros = ir.Constant(vector, None)
        store = builder.store(builder.select(which, _every(builder, vector, one), zeros), pointer)
        store.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def popcount(typingctx, word):
    """The number of set bits of a uint64."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def trailing_zeros(typingctx, word):
    """The index of the lowest set bit of a uint64 that is not zero."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@njit(nogil=True, cache=True)
def word_greater(values, start, count, threshold):
    """The word of `count` <= 64 voxels from `start` on: one vector load, except at the very end."""
    if start + 64 <= values.size:
        word = greater64(values, start, threshold)
        if count < 64:
            word &= (types.uint64(1) << types.uint64(count)) - types.uint64(1)
        return word
    word = types.uint64(0)
    for k in range(count):
        if values[start + k] > threshold:
            word |= types.uint64(1) << types.uint64(k)
    return word


@njit(nogil=True, cache=True)
def pack_row(row, values, length, threshold, words):
    """Set one row of words to ``values > threshold``, bits beyond its length to zero."""
    start = row * length
    for w in range(words.shape[1]):
        words[row, w] = word_greater(values, start + w * 64, min(64, length - w * 64), threshold)


@njit(nogil=True, cache=True)
def pack_rows(first, last, values, length, threshold, words):
    """``values > threshold`` as rows of words; bool comes as uint8, with the threshold 0."""
    for r in range(first, last):
        pack_row(r, values, length, threshold, words)


@njit(nogil=True, cache=True)
def paint_rows(first, last, words, length, out):
    """Write rows of words as rows of `length` bytes 0 or 1 to the 1-D uint8 array `out`."""
    end = last * length
    for r in range(first, last):
        for w in range(words.shape[1]):
            at = r * length + w * 64
            word = words[r, w]
            # What a store writes past its row, the next row of this piece writes over.
            if at + 64 <= end:
                store64(out, at, word)
            else:
                for k in range(min(64, (r + 1) * length - at)):
                    out[at + k] = (word >> types.uint64(k)) & types.uint64(1)
