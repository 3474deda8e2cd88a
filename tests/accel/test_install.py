"""Names replaced in other packages, each case in a process of its own."""

import subprocess
import sys
import textwrap


def python(code: str, *arguments: str) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


IS_OURS = "ours = lambda f: hasattr(f, 'gpuseg_original')\n"


def test_names_of_lazy_and_of_defining_modules_are_replaced_and_put_back():
    out = python(
        IS_OURS
        + textwrap.dedent("""
        import gpuseg.accel
        gpuseg.accel.install()
        from skimage.filters import gaussian, threshold_otsu
        from skimage.filters.thresholding import threshold_yen
        import skimage as ski
        assert ours(gaussian) and ours(threshold_otsu) and ours(threshold_yen)
        assert ours(ski.measure.label) and ski.filters.threshold_yen is threshold_yen
        gpuseg.accel.uninstall()
        from skimage.filters import gaussian as plain
        assert not ours(plain) and plain is gaussian.__wrapped__
        assert not ours(ski.filters.thresholding.threshold_otsu)
        print("fine")
        """)
    )
    assert out == "fine\n"


def test_packages_that_are_loaded_already_are_patched_too():
    out = python(
        IS_OURS
        + textwrap.dedent("""
        import skimage.filters
        plain = skimage.filters.gaussian
        import gpuseg.accel
        gpuseg.accel.install()
        assert ours(skimage.filters.gaussian) and skimage.filters.gaussian.__wrapped__ is plain
        print("fine")
        """)
    )
    assert out == "fine\n"
