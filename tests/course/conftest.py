"""The course runs on the CPU and, where one works, on a GPU; in the simulator it would crawl."""

import pytest

import gpuseg


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """The name of the backend that every gpuseg call of the module's tests runs on."""
    with gpuseg.using(request.param):
        yield request.param
