"""Names replaced in other packages, each case in a process of its own."""

import os
import subprocess
import sys
import textwrap

import pytest

from gpuseg.accel import _opt_in


def python(code: str, *arguments: str, **environment: str) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", HELPERS + textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


HELPERS = """
import pickle, sys
import numpy as np
ours = lambda f: hasattr(f, "gpuseg_original")
image = np.random.default_rng(0).random((40, 50))
"""
INSTALL = "import gpuseg.accel; gpuseg.accel.install({})\n"


def test_names_of_lazy_and_of_defining_modules_are_replaced_and_put_back():
    python(
        INSTALL.format("")
        + textwrap.dedent("""
        from skimage.filters import gaussian, threshold_otsu
        from skimage.filters.thresholding import threshold_yen
        from skimage.morphology.misc import remove_small_objects
        import skimage as ski
        assert ours(gaussian) and ours(threshold_otsu) and ours(threshold_yen)
        assert ours(ski.measure.label) and ski.filters.threshold_yen is threshold_yen
        assert ski.morphology.remove_small_objects is remove_small_objects
        assert ours(remove_small_objects) and not ours(ski.filters.threshold_li)
        gpuseg.accel.uninstall()
        from skimage.filters import gaussian as plain
        assert not ours(plain) and plain is gaussian.gpuseg_original
        assert not ours(ski.filters.thresholding.threshold_otsu)
        assert not ours(ski.morphology.remove_small_objects)
        assert not gpuseg.accel.installed()
        gaussian(image)
        """)
    )


def test_a_function_of_two_packages_is_one():
    python(
        INSTALL.format("")
        + textwrap.dedent("""
        import skimage.measure, skimage.morphology, skimage.segmentation
        assert ours(skimage.morphology.label)
        assert skimage.morphology.label is skimage.measure.label
        assert skimage.morphology.flood is skimage.segmentation.flood
        assert ours(skimage.segmentation.flood)
        """)
    )


def test_packages_that_are_loaded_already_are_patched_too():
    python("""
        import skimage.filters, scipy.ndimage, sklearn.cluster
        plain = skimage.filters.gaussian
        KMeans = sklearn.cluster.KMeans
        import gpuseg.accel
        gpuseg.accel.install()
        gpuseg.accel.install()
        assert ours(skimage.filters.gaussian) and skimage.filters.gaussian.gpuseg_original is plain
        assert ours(scipy.ndimage.label) and not ours(scipy.ndimage.sobel)
        assert ours(sklearn.cluster.KMeans)
        gpuseg.accel.uninstall()
        assert skimage.filters.gaussian is plain and not ours(scipy.ndimage.label)
        assert sklearn.cluster.KMeans is KMeans
        """)


def test_installing_imports_none_of_the_packages():
    python("""
        import gpuseg.accel
        gpuseg.accel.install()
        heavy = {"skimage", "scipy", "sklearn", "numba"} & set(sys.modules)
        assert not heavy, heavy
        """)


def test_calls_from_inside_the_libraries_are_theirs():
    python(
        INSTALL.format("always=True")
        + textwrap.dedent("""
        import skimage.filters
        calls = []
        from gpuseg.accel._serve import Served
        attempt = Served.attempt
        Served.attempt = lambda self, *a: calls.append(self.path) or attempt(self, *a)
        skimage.filters.unsharp_mask(image)      # calls gaussian
        assert not calls, calls
        skimage.filters.gaussian(image)
        assert calls == ["skimage.filters.gaussian"]
        """)
    )


def test_functions_and_fitted_estimators_are_pickled_by_the_original_names(tmp_path):
    file = tmp_path / "things"
    python(
        INSTALL.format("always=True")
        + textwrap.dedent(f"""
        from skimage.filters import gaussian
        from skimage.filters.thresholding import threshold_otsu
        from scipy.ndimage import label
        from sklearn.cluster import KMeans
        model = KMeans(2, n_init=1, random_state=0).fit(image.astype("f4"))
        things = gaussian, threshold_otsu, label, model
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            copies = pickle.loads(pickle.dumps(things, protocol))
            assert all(a is b for a, b in zip(copies[:3], things))
        with open({str(file)!r}, "wb") as out:
            pickle.dump(things, out)
        """)
    )
    python(f"""
        with open({str(file)!r}, "rb") as data:
            gaussian, threshold_otsu, label, model = pickle.load(data)
        assert "gpuseg" not in sys.modules
        import skimage.filters, sklearn.cluster
        assert gaussian is skimage.filters.gaussian and type(model) is sklearn.cluster.KMeans
        model.predict(image.astype("f4"))
        """)


def test_patched_functions_go_to_other_processes():
    python(
        INSTALL.format("always=True")
        + textwrap.dedent("""
        import multiprocessing
        from skimage.filters import threshold_mean
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map(threshold_mean, [image]) == [threshold_mean(image)]
        """)
    )


def test_an_estimator_and_the_original_are_one_class():
    python(
        INSTALL.format("always=True")
        + textwrap.dedent("""
        import inspect
        from sklearn.base import clone
        from sklearn.ensemble import BaggingClassifier
        from sklearn.tree import DecisionTreeClassifier
        from sklearn.cluster import KMeans
        y = np.arange(40) % 2
        made_inside = BaggingClassifier(n_estimators=1).fit(image, y).estimators_[0]
        assert isinstance(made_inside, DecisionTreeClassifier)
        assert issubclass(KMeans.gpuseg_original, KMeans)
        class Mine(KMeans):
            pass
        mine = Mine(2, n_init=1).fit(image)
        assert isinstance(mine, KMeans) and not isinstance(KMeans(), Mine)
        assert type(clone(KMeans(3))) is KMeans and clone(KMeans(3)).n_clusters == 3
        assert repr(KMeans(3)) == "KMeans(n_clusters=3)"
        assert inspect.signature(KMeans) == inspect.signature(KMeans.gpuseg_original)
        assert not isinstance(image, KMeans)
        """)
    )


def test_estimators_that_libraries_ask_for_are_theirs():
    python(
        INSTALL.format("always=True")
        + textwrap.dedent("""
        from sklearn.linear_model import LinearRegression
        from gpuseg._cpu.estimators.linear import LinearRegression as inside
        assert ours(LinearRegression) and inside is LinearRegression.gpuseg_original
        y = image @ np.arange(50.0)
        np.testing.assert_allclose(LinearRegression().fit(image, y).predict(image), y)
        """)
    )


def test_what_is_asked_of_a_function_is_the_originals():
    python(
        INSTALL.format("")
        + textwrap.dedent("""
        import inspect, skimage.filters
        f = skimage.filters.gaussian
        assert inspect.signature(f) == inspect.signature(f.gpuseg_original)
        assert f.__doc__ == f.gpuseg_original.__doc__ and f.__name__ == "gaussian"
        assert "gaussian" in dir(skimage.filters)
        from skimage.filters import *
        assert ours(gaussian)
        try:
            skimage.filters.nonsense
        except AttributeError as error:
            assert "nonsense" in str(error)
        import sklearn.cluster
        try:
            sklearn.cluster.nonsense
        except AttributeError as error:
            assert "nonsense" in str(error)
        """)
    )


def test_names_imported_in_a_notebook_before_are_replaced_there():
    python("""
        import skimage.filters
        from skimage.filters import gaussian
        from sklearn.cluster import KMeans
        import gpuseg.accel
        class Shell:
            user_ns = {"gaussian": gaussian, "KMeans": KMeans, "image": image, "np": np}
        gpuseg.accel.load_ipython_extension(Shell)
        assert ours(Shell.user_ns["gaussian"]) and ours(Shell.user_ns["KMeans"])
        assert Shell.user_ns["image"] is image
        gpuseg.accel.unload_ipython_extension(Shell)
        assert Shell.user_ns["gaussian"] is gaussian and Shell.user_ns["KMeans"] is KMeans
        """)


# --- the opt-in -------------------------------------------------------------------------------

IS_ON = "import skimage.filters; print(ours(skimage.filters.gaussian))"


def test_the_variable_counts_only_where_it_was_enabled(tmp_path, monkeypatch):
    monkeypatch.setattr(_opt_in, "path", lambda: tmp_path / _opt_in.NAME)
    with_site = f"import site; site.addsitedir({str(tmp_path)!r})\n{IS_ON}"
    assert _opt_in.status()["enabled"] == "no"
    assert python(with_site, GPUSEG_ACCEL="1") == "False\n"
    assert _opt_in.enable() == tmp_path / _opt_in.NAME
    assert _opt_in.status()["enabled"] == "yes"
    assert python(with_site, GPUSEG_ACCEL="1") == "True\n"
    assert python(with_site, GPUSEG_ACCEL="0") == "False\n"
    assert _opt_in.disable()
    assert not _opt_in.disable()
    assert python(with_site, GPUSEG_ACCEL="1") == "False\n"


def test_python_starts_where_gpuseg_was_uninstalled(tmp_path):
    (tmp_path / _opt_in.NAME).write_text(_opt_in.LINE)
    code = f"sys.modules['gpuseg'] = None; import site; site.addsitedir({str(tmp_path)!r})"
    assert python(f"{code}; print('started')", GPUSEG_ACCEL="1") == "started\n"


# --- python -m gpuseg.accel -------------------------------------------------------------------

SCRIPT = """
import sys
import numpy as np
from skimage.filters import threshold_otsu
def twice(x):
    return 2 * x
if __name__ == "__main__":
    import pickle
    assert pickle.loads(pickle.dumps(twice)) is twice
    print(sys.argv[1:], hasattr(threshold_otsu, "gpuseg_original"), __file__)
    threshold_otsu(np.arange(100.0).reshape(10, 10))
    sys.exit(3)
"""


def accel(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gpuseg.accel", *arguments],
        capture_output=True, text=True, timeout=120, cwd=cwd,
    )  # fmt: skip


def test_a_script_runs_with_its_arguments_and_exit_code(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = accel(str(script), "-v", "a b")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == f"['-v', 'a b'] True {script}\n"


def test_a_module_and_code_run(tmp_path):
    (tmp_path / "some_module.py").write_text(SCRIPT)
    done = accel("-m", "some_module", "x", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("['x'] True")
    done = accel("-c", "import sys; print(sys.argv, __name__)", "x")
    assert (done.returncode, done.stdout) == (0, "['-c', 'x'] __main__\n")


def test_verbose_tells_what_ran_where_and_profile_adds_up(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = accel("-v", "--profile", "--always", "script.py", cwd=tmp_path)
    assert done.returncode == 3
    line, *table = done.stderr.splitlines()
    assert line.startswith("gpuseg.accel: skimage.filters.threshold_otsu: ")
    assert "10x10 float64" in line
    assert table[1].split()[:2] == ["skimage.filters.threshold_otsu", "1"]
    done = accel("-v", "--profile", "script.py", cwd=tmp_path)
    assert "original (no faster on the CPU for 100 values)" in done.stderr


@pytest.mark.parametrize("wrong", [[], ["--nonsense", "x.py"], ["-m"], ["-c"]])
def test_wrong_usage_says_so(wrong):
    done = accel(*wrong)
    assert done.returncode == 2
    assert "usage: python -m gpuseg.accel" in done.stderr


def test_an_error_of_a_script_is_its_own(tmp_path):
    (tmp_path / "script.py").write_text("1 / 0\n")
    done = accel("script.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert accel("no_such_script.py", cwd=tmp_path).returncode != 0


def test_what_decides_about_a_call_does_not_load_numba():
    """It takes half a second, which a script of small images never earns back."""
    code = """
        import sys
        import gpuseg.accel
        gpuseg.accel.install()
        import numpy, skimage.filters
        skimage.filters.threshold_otsu(numpy.eye(8))
        from gpuseg.accel import _limits
        assert "numba" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
