"""Labels and measures of regions."""

from __future__ import annotations

import difflib
import inspect

import numpy as np

from ._backend import array_namespace, run
from ._checks import (
    bool_array,
    finite_array,
    flags,
    in_memory,
    integer,
    integer_array,
    mask_array,
    not_colours,
    number,
    option,
    per_axis,
    real_array,
    shown,
    without_nan,
)
from ._contracts import Close, Exact, contract

__all__ = ["find_contours", "label", "marching_cubes", "regionprops_table", "volume_fraction"]


@contract(Exact(), nan="refuse", infinity="value")
def label(label_image, background=None, return_num=False, connectivity=None):
    """Number the connected regions of equal value.

    Parameters
    ----------
    label_image : array of real numbers or bool, any shape of at least one axis
        Of a bool array the True regions are numbered; of another one the regions of each value.
    background : number, optional
        Voxels equal to it get 0; by default those that are 0 or False. It need not be a value that
        the type of the image holds: no voxel is background then.
    return_num : bool, optional
        Return the number of regions as well.
    connectivity : int, optional
        Along how many axes at most two neighbours differ: 1 (faces) up to the number of axes, which
        is the default.

    Returns
    -------
    labels : int32 array of the shape of `label_image`
        1, 2, ... in the order in which a raster scan meets the regions. int64 from 2**31 voxels on.
    num : int
        The number of regions, if `return_num`; of a Dask array a lazy one of no axes.

    Raises
    ------
    TypeError, ValueError
        For an array that is not of real numbers or is empty, or a connectivity out of range.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    NaN is refused: it is equal to no label. Infinities are labels like others.

    The numbers are those of `scipy.ndimage.label` (of scikit-image too, but for arrays whose last
    axis has length 1, which that one scans in another order). scikit-image returns int64 for
    images of integers; int32 takes half the memory. Floating-point values, and a background beside
    them, count as different when they are; scikit-image rounds both to integers first.

    Beside input and result the CPU form needs 1/8 byte a voxel and 4 to 8 bytes a run.

    Of a Dask array the labels are lazy, and the same for any chunks. Each chunk is computed once
    and labelled by itself; what is needed of it to the end (of a mask 1/8 byte a voxel and 4 bytes
    a run, of other images 4 bytes a voxel) waits in a temporary file, in Dask's
    ``temporary-directory``. In memory stay 12 bytes a row of each chunk, and some for each region
    on its faces. Compute labels and number together, as ``dask.compute(labels, num)``.

    References
    ----------
    .. [1] L. He, X. Ren, Q. Gao, X. Zhao, B. Yao, Y. Chao, "The connected-component labeling
           problem: a review of state-of-the-art algorithms", Pattern Recognition 70, 2017.
           :doi:`10.1016/j.patcog.2017.04.018`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.measure import label
    >>> label(np.array([[1, 0, 2], [0, 1, 2]]), connectivity=1)
    array([[1, 0, 2],
           [0, 3, 2]], dtype=int32)
    """
    flags(return_num=return_num)
    label_image = without_nan(label_image, "label_image")
    not_colours(label, label_image, instead="turn each colour into a number first")
    ndim = label_image.ndim
    if connectivity is None:
        connectivity = ndim
    connectivity = integer(connectivity, "connectivity", at_least=1, at_most=ndim)
    background = 0 if background is None else _background(background)
    labels, count = run(label, label_image, background=background, connectivity=connectivity)
    return (labels, count) if return_num else labels


def _background(value):
    if isinstance(value, bool | np.bool_):
        return int(value)
    return number(value, "background", finite=False)


@contract(Close(rtol=1e-6), note="integer properties exact", nan="local")
def regionprops_table(
    label_image,
    intensity_image=None,
    properties=("label", "bbox"),
    *,
    cache=True,
    separator="-",
    extra_properties=None,
    spacing=None,
):
    """Measure every region of a label image; a dict of columns, ready for pandas.

    Parameters
    ----------
    label_image : integer array of 2 or 3 axes
        What is not above 0 is background.
    intensity_image : array of the shape of `label_image`, or one axis more, optional
        For properties of intensities; channels along the last axis.
    properties : sequence of str, optional
        Names of scikit-image's region properties.
    cache : bool, optional
        Keep intermediate results.
    separator : str, optional
        Between the name and the index of a property of several numbers.
    extra_properties : sequence of functions, optional
        Each takes the mask (and the intensities) of a region; run on the CPU.
    spacing : number, or one for each axis, optional
        Size of a voxel along each axis.

    Returns
    -------
    dict of str to array
        One entry a region in each array, in the order of the labels. These are int64, or uint64
        where one is 2**63 or above.

    Raises
    ------
    TypeError, ValueError
        For labels that are no integers, an intensity image of another shape, names of no property
        (or of one that is for 2-D labels or for equal spacings alone, or needs intensities),
        a separator that is no string, and sizes that are not above 0.

    Notes
    -----
    NaN and infinities in the intensities are in the numbers of the region that holds them, and in
    no others.

    Labels may be any numbers, far apart as well: memory goes by how many there are.

    Of voxels in a plane, along a line or alone a volume's convex hull is found as of any others
    (`area_convex`, `image_convex`, `solidity`, `feret_diameter_max`); scikit-image finds none, so
    its solidity is infinite there, and its diameter an error. What is weighted by intensities whose
    sum is 0 is NaN. Means and standard deviations of float32 intensities are added in float64,
    where scikit-image's lose the spread of large values. Intensities in float16 are taken as
    float32.

    A GPU serves the properties that cuCIM measures as scikit-image does; a call that asks for
    another one runs on the CPU.

    Dask arrays are measured at once, a chunk at a time, and the result is in host memory. Measures
    that are made of sums (sizes, boxes, places, axes, moments, all of intensities but the median)
    take one look at each chunk, and per chunk 100 bytes for each of its regions; with moments, 500
    for the places and for each channel. Other measures take a second look, and those pixels of
    regions in several chunks are brought together: a bit for each voxel of such a region's box in
    each chunk, and its intensities if these are measured.

    References
    ----------
    .. [1] W. Burger, M. Burge, "Principles of digital image processing: core algorithms", Springer,
           2009. :doi:`10.1007/978-1-84800-195-4`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.measure import regionprops_table
    >>> labels = np.array([[1, 1, 0], [0, 0, 2]])
    >>> regionprops_table(labels, properties=("label", "area"))["area"]
    array([2., 1.])
    """
    label_image = integer_array(label_image, "label_image", or_bool=False)
    ndim = label_image.ndim
    if ndim not in (2, 3):
        raise ValueError(f"label_image must have 2 or 3 axes, got shape {label_image.shape}")
    if intensity_image is not None:
        intensity_image = real_array(intensity_image, "intensity_image")
        if intensity_image.shape not in (
            label_image.shape,
            (*label_image.shape, *intensity_image.shape[-1:]),
        ):
            raise ValueError(
                f"intensity_image must have the shape of label_image, {label_image.shape}, "
                f"or one axis more, got {intensity_image.shape}"
            )
        if intensity_image.dtype == np.float16:
            intensity_image = intensity_image.astype(np.float32)
    flags(cache=cache)
    if not isinstance(separator, str):
        raise TypeError(f"separator must be a string, got {shown(separator)}")
    if spacing is not None:
        spacing = tuple(map(float, per_axis(spacing, "spacing", ndim, above=0)))
    extra = _extra_properties(extra_properties, intensity_image is not None)
    return run(
        regionprops_table,
        label_image,
        intensity_image,
        _properties(properties, extra, ndim, intensity_image is not None, spacing),
        cache=cache,
        separator=separator,
        extra_properties=extra,
        spacing=spacing,
    )


# Properties of labels of 2 axes alone, and those of them that need spacings alike, or of 1.
_FLAT = ("eccentricity", "moments_hu", "moments_weighted_hu", "orientation", "perimeter",
         "perimeter_crofton")  # fmt: skip
_ALIKE = ("perimeter", "perimeter_crofton")
_ONE = ("moments_hu", "moments_weighted_hu")


def _properties(names, extra, ndim: int, has_image: bool, spacing) -> tuple[str, ...]:
    """Names of properties that can be measured."""
    from skimage.measure import _regionprops as known  # takes long to import

    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise TypeError(f"properties must be a sequence of names, got {shown(names)}")
    names = tuple(names)
    own = {function.__name__ for function in extra}
    for given in names:
        if not isinstance(given, str):
            raise TypeError(f"properties must be names, got {shown(given)}")
        name = known.PROPS.get(given, given)
        if name not in known.COL_DTYPES and name not in own:
            close = difflib.get_close_matches(name, known.COL_DTYPES, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"properties: {given!r} is no region property{hint}")
        wrong = (
            (name in _FLAT and ndim != 2, "labels of 2 axes"),
            (name in known._require_intensity_image and not has_image, "an intensity_image"),
            (name in _ALIKE and len(set(spacing or ())) > 1, "the same spacing along both axes"),
            (name in _ONE and set(spacing or ()) - {1.0}, "a spacing of 1"),
        )
        for is_wrong, needed in wrong:
            if is_wrong:
                raise ValueError(f"properties: {given!r} needs {needed}")
    return names


def _extra_properties(functions, has_image: bool) -> tuple:
    """Functions of a region's mask, or of its mask and intensities."""
    if functions is None:
        return ()
    if not hasattr(functions, "__iter__"):
        raise TypeError(f"extra_properties must be a sequence of functions, got {shown(functions)}")
    functions = tuple(functions)
    for function in functions:
        if not callable(function) or not hasattr(function, "__name__"):
            raise TypeError(
                f"extra_properties must be functions with a name, got {shown(function)}"
            )
        needed = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        if len(needed) not in (1, 2):
            raise ValueError(
                "extra_properties must take a mask, or a mask and intensities; "
                f"{function.__name__} takes {len(needed)} arguments"
            )
        if len(needed) == 2 and not has_image:
            raise ValueError(f"extra_properties: {function.__name__} needs an intensity_image")
    return functions


@contract(Exact(), nan="refuse", infinity="value")
def volume_fraction(image, *, mask=None):
    """The share of the voxels that are foreground: the porosity of a mask of pores, for one.

    Parameters
    ----------
    image : bool or number array, any shape of at least one axis
        A mask; any value but zero is foreground.
    mask : bool array of the shape of `image`, optional
        Where to look, for example the inside of a sample.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, or a mask of another shape or
        with nothing inside.

    Notes
    -----
    NaN is neither foreground nor background, and is refused; infinity is foreground.

    References
    ----------
    .. [1] E.E. Underwood, "Quantitative stereology", Addison-Wesley, 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.measure import volume_fraction
    >>> volume_fraction(np.array([True, False, False, False]))
    0.25
    """
    image = bool_array(image)
    mask = mask_array(mask, image)
    count = array_namespace(image).count_nonzero
    if mask is None:
        return int(count(image)) / image.size
    return int(count(image & mask)) / int(count(mask))


@contract(Exact(), nan="local")
def find_contours(
    image, level=None, fully_connected="low", positive_orientation="low", *, mask=None
):
    """Find the lines along which an image has a value.

    Parameters
    ----------
    image : array of real numbers or bool, of 2 axes
        NaN parts a line. What is True counts as 1.
    level : number, optional
        The value; by default midway between the extremes.
    fully_connected : {'low', 'high'}, optional
        Whether two pixels below or above the level that touch at a corner are connected.
    positive_orientation : {'low', 'high'}, optional
        Whether lines run anticlockwise around what is below or above the level.
    mask : bool array of the shape of `image`, optional
        Where to look.

    Returns
    -------
    list of float64 arrays of shape (K, 2)
        The row and column of each point of each line, between pixels. A closed line ends with its
        first point.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers of 2 axes, each at least 2 long, a level that
        is no finite number, a mask of another shape, an unknown word.

    Notes
    -----
    Marching squares; it runs on the CPU (lines are lists of points of unknown lengths). The level
    midway is that of real numbers: scikit-image adds the extremes in the type of the image, where
    their sum may have no room.

    References
    ----------
    .. [1] W.E. Lorensen, H.E. Cline, "Marching cubes: a high resolution 3D surface construction
           algorithm", Computer Graphics 21(4), 1987. :doi:`10.1145/37401.37422`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.measure import find_contours
    >>> find_contours(np.array([[0, 0, 1, 1]] * 2), 0.5)
    [array([[1. , 1.5],
           [0. , 1.5]])]
    """
    image = real_array(image, ndim=2)
    if min(image.shape) < 2:
        raise ValueError(f"image must be at least 2 x 2, got shape {image.shape}")
    for word, name in (
        (fully_connected, "fully_connected"),
        (positive_orientation, "positive_orientation"),
    ):
        option(word, name, ("low", "high"))
    return run(
        find_contours,
        image,
        None if level is None else float(number(level, "level")),
        fully_connected,
        positive_orientation,
        mask=mask_array(mask, image),
    )


@contract(Exact(), nan="refuse")
def marching_cubes(
    volume,
    level=None,
    *,
    spacing=(1.0, 1.0, 1.0),
    gradient_direction="descent",
    step_size=1,
    allow_degenerate=True,
    method="lewiner",
    mask=None,
):
    """Find the surface on which a volume has a value, as triangles.

    Parameters
    ----------
    volume : array of real numbers or bool, of 3 axes
        What is True counts as 1.
    level : number, optional
        The value; by default midway between the extremes.
    spacing : number, or three, optional
        The size of a voxel along each axis, in the units of the vertices.
    gradient_direction : {'descent', 'ascent'}, optional
        Whether objects are above the level or below it: to which side the triangles turn.
    step_size : int, optional
        Every how many voxels to look.
    allow_degenerate : bool, optional
        Keep triangles of no area.
    method : {'lewiner', 'lorensen'}, optional
        The table of cases; Lewiner's has no holes.
    mask : bool array of the shape of `volume`, optional
        Where to look.

    Returns
    -------
    verts : float32 array of shape (V, 3)
    faces : int32 array of shape (F, 3)
        The vertices of each triangle.
    normals : float32 array of shape (V, 3)
    values : float32 array of shape (V,)
        The largest value of the volume near each vertex.

    Raises
    ------
    TypeError, ValueError
        For a volume that is no array of real numbers of 3 axes, each at least 2 long, a level
        outside of its values, a size that is not above 0, a mask of another shape.

    Notes
    -----
    It runs on the CPU (the vertices of neighbouring cubes are joined in the order of a scan), by
    scikit-image, from which it departs in three ways. A cube counts where all of its corners are in
    the mask, where scikit-image asks the last one alone. Values that are the level count as just
    below it, so that Lewiner's surface is closed there, too. And the level midway is that of real
    numbers, whatever the type of the volume.

    NaN and infinity are refused.

    References
    ----------
    .. [1] T. Lewiner, H. Lopes, A.W. Vieira, G. Tavares, "Efficient implementation of marching
           cubes' cases with topological guarantees", Journal of Graphics Tools 8(2), 2003.
           :doi:`10.1080/10867651.2003.10487582`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.measure import marching_cubes
    >>> volume = np.zeros((3, 3, 3))
    >>> volume[1, 1, 1] = 1
    >>> verts, faces, normals, values = marching_cubes(volume, 0.5)
    >>> verts.shape, faces.shape
    ((6, 3), (8, 3))
    """
    flags(allow_degenerate=allow_degenerate)
    in_memory(marching_cubes, volume)
    volume = finite_array(volume, "volume", ndim=3)
    if min(volume.shape) < 2:
        raise ValueError(f"volume must be at least 2 x 2 x 2, got shape {volume.shape}")
    if level is not None:
        level = float(number(level, "level", at_least=volume.min(), at_most=volume.max()))
    option(gradient_direction, "gradient_direction", ("descent", "ascent"))
    option(method, "method", ("lewiner", "lorensen"))
    return run(
        marching_cubes,
        volume,
        level,
        spacing=per_axis(spacing, "spacing", 3, above=0),
        gradient_direction=gradient_direction,
        step_size=integer(step_size, "step_size", at_least=1),
        allow_degenerate=allow_degenerate,
        method=method,
        mask=mask_array(mask, volume, "mask"),
    )
