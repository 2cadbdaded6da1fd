"""The package opens at once and pulls in nothing heavy; every name that it promises is there."""

import subprocess
import sys

import pytest

import sftlib.metrics

HEAVY = ("torch", "transformers", "datasets", "pandas", "sklearn", "scipy")


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_not_even_numpy():
    loaded = modules_after("import sftlib.metrics")
    assert not loaded & {*HEAVY, "numpy"}
    assert not [name for name in loaded if name.startswith("sftlib.metrics.")]


def test_using_everything_loads_nothing_but_numpy():
    loaded = modules_after("import sftlib.metrics as m; [getattr(m, name) for name in m.__all__]")
    assert not loaded & set(HEAVY)
    assert "numpy" in loaded


@pytest.mark.parametrize("name", sftlib.metrics.__all__)
def test_every_promised_name_exists(name):
    assert getattr(sftlib.metrics, name) is not None


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no 'wilsonn'; it has .*wilson"):
        sftlib.metrics.wilsonn  # noqa: B018
