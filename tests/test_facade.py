"""The facade: every public name is explained, importing it is light, and the public signatures hold."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest

import engine

NAMES = sorted(engine.__all__)


def test_all_names_are_listed_in_order_and_are_there():
    assert len(set(engine.__all__)) == len(engine.__all__)
    assert all(hasattr(engine, name) for name in NAMES)
    public = {
        name for name, value in vars(engine).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }  # fmt: skip
    assert public == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if callable(getattr(engine, name))])
def test_every_name_is_explained(name):
    value = getattr(engine, name)
    assert value.__doc__
    assert value.__doc__.strip().endswith((".", ")", ":")) or "\n" in value.__doc__.strip()
    # The signature that a dataclass writes for itself explains nothing.
    assert not value.__doc__.startswith(f"{name}(")
    if inspect.isclass(value):
        methods = {n: m for n, m in vars(value).items() if inspect.isfunction(m) and not n.startswith("_")}
        assert all(method.__doc__ for method in methods.values()), [n for n, m in methods.items() if not m.__doc__]


@pytest.mark.parametrize("name", NAMES)
def test_results_and_settings_cannot_be_changed(name):
    value = getattr(engine, name)
    if inspect.isclass(value) and is_dataclass(value):
        assert value.__dataclass_params__.frozen


def test_importing_the_facade_loads_no_torch():
    # The libraries' own filters come with them, facade or not.
    code = (
        "import sys, warnings, pandas, scipy.stats, plotly.subplots, plotly.tools; "
        "before = list(warnings.filters); import engine; "
        "heavy = {'torch', 'transformers', 'peft', 'streamlit'} & set(sys.modules); "
        "assert not heavy, heavy; assert warnings.filters == before, warnings.filters"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ARRAYS = "y, predictions, pool_predictions"
PPI = (
    "confidence=0.95, power_tuning=True, weights=None, pool_weights=None, strata=None, pool_strata=None, clusters=None"
)
# name: positional arguments, keyword arguments with their defaults ("-": required)
SIGNATURES = {
    "rectified_mean": (ARRAYS, f"{PPI}, finite_population=False"),
    "rectified_shares": (ARRAYS, f"{PPI}, finite_population=False"),
    "rectified_quantile": (ARRAYS, f"{PPI}, finite_population=False, q=0.5"),
    "rectified_groups": (ARRAYS, "confidence=0.95, groups=-, pool_groups=-"),
    "rectified_ols": (f"{ARRAYS}, x, x_pool", "confidence=0.95"),
    "rectified_logistic": (f"{ARRAYS}, x, x_pool", "confidence=0.95"),
    "fit_law": ("sizes, variances", "degrees_of_freedom=None, label_variance=None"),
    "plan": ("law", "n=-, m=-, label_variance=-, population='larger'"),
    "efficiency": ("", "coslow=None, family=None, scores=None, ceiling=None, test_size=None"),
}


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name in NAMES])
def test_the_contracts_signatures_hold(name):
    parameters = inspect.signature(getattr(engine, name)).parameters
    positional, keywords = SIGNATURES[name]
    first = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    wanted = [part for part in positional.split(", ") if part]
    assert first[: len(wanted)] == wanted
    for keyword in keywords.split(", "):
        key, _, default = keyword.partition("=")
        found = parameters[key].default
        assert (found is inspect.Parameter.empty) if default == "-" else (repr(found) == default), key


FIELDS = {
    "Estimate": "estimate ci_low ci_high standard_error confidence method power correlation n m n_effective "
    "labels_saved labels_only model_only to_frame plot summary",
    "Law": "a alpha b predict interval draws summary",
    "Plan": "strategies recommended why width regret flat_region to_frame summary",
    "StrategyPlan": "name finetune rectify folds half_width interval labels_saved cost seconds",
    "Efficiency": "auc interval curve labels_to summary",
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_contracts_fields_are_there(name):
    value = getattr(engine, name)
    have = {field.name for field in fields(value)} | set(dir(value))
    assert set(FIELDS[name].split()) <= have


def test_every_fault_is_a_labelwise_error():
    for name in ("ArgumentError", "DataError", "ModelError", "RunError"):
        assert issubclass(getattr(engine, name), engine.LabelwiseError)
    assert issubclass(engine.ArgumentError, ValueError)


def test_importing_changes_no_option_or_generator():
    code = """
import pickle, random
import numpy, pandas, plotly.graph_objects
state, options = random.getstate(), numpy.get_printoptions()
numpy_state = pickle.dumps(numpy.random.get_state())
import engine
assert random.getstate() == state
assert pickle.dumps(numpy.random.get_state()) == numpy_state
assert numpy.get_printoptions() == options
"""
    subprocess.run([sys.executable, "-c", code], check=True)
