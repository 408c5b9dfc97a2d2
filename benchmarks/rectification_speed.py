"""Time and memory of the estimators beside ppi-python's, in one run.

    python benchmarks/rectification_speed.py [--skip-slow]

1,000 labels, pools of 100,000 and 1,000,000 rows, 5 coefficients. Each time is the best of several runs. ppi-python's
median fits in memory only for the smaller pool. Peak memory is what an estimator allocates beside its input arrays,
measured by tracemalloc at the larger pool, with the inputs added: "times inputs" is (inputs + allocated) / inputs.
The last line is one JSON object.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from engine.rectification import rectified_logistic, rectified_mean, rectified_ols, rectified_quantile

N, D = 1000, 5
POOLS = (100_000, 1_000_000)
WANTED = {"mean": 10, "ols": 7, "logistic": 10, "median": 1000}
Calls = dict[str, tuple[Callable[[], Any], Callable[[], Any] | None, int]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--skip-slow", action="store_true", help="leave out ppi-python's median")
    chosen = options.parse_args()
    figures: dict[str, Any] = {}
    print(
        f"{'estimator':10} {'pool':>9} {'ours ms':>10} {'ppi ms':>12} {'faster':>9} {'wanted':>7} {'times inputs':>13}"
    )
    for m in POOLS:
        for name, (ours, peer, size) in calls(m).items():
            slow = name == "median" and (m > POOLS[0] or chosen.skip_slow)
            mine = best(ours, {"mean": 200, "median": 7}.get(name, 3))
            other = None if peer is None or slow else best(peer, {"mean": 50, "median": 1}.get(name, 2))
            memory = (size + allocated(ours)) / size if m == POOLS[-1] else None
            figures[f"{name}_{m}"] = {
                "ours_ms": round(1000 * mine, 3),
                "ppi_ms": None if other is None else round(1000 * other, 1),
                "faster": None if other is None else round(other / mine, 1),
                "times_inputs": None if memory is None else round(memory, 2),
            }
            print(_line(name, m, figures[f"{name}_{m}"]), flush=True)
    print(json.dumps(figures))


def best(call: Callable[[], Any], times: int) -> float:
    """The shortest of several runs, in seconds, after one to warm up where that is cheap."""
    if times > 1:
        call()
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def allocated(call: Callable[[], Any]) -> int:
    """Bytes at the peak of a call beyond those before it."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def calls(m: int) -> Calls:
    """Ours, ppi-python's and the bytes of the inputs, by estimator."""
    import ppi_py

    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(N + m), rng.normal(size=(N + m, D - 1))])
    line = x @ np.linspace(0.5, -0.5, D)
    y = line + rng.normal(size=N + m)
    f = line + 0.7 * (y - line) + 0.3 * rng.normal(size=N + m)
    share = (rng.random(N + m) < expit(line)).astype(float)
    guess = np.clip(0.15 + 0.7 * share + 0.1 * rng.normal(size=N + m), 0, 1)
    a, b, c, d, e = y[:N], f[:N], f[N:].copy(), x[:N], x[N:].copy()
    s, t, u = share[:N], guess[:N], guess[N:].copy()
    vectors = a.nbytes + b.nbytes + c.nbytes
    tables = vectors + d.nbytes + e.nbytes
    return {
        "mean": (lambda: rectified_mean(a, b, c), lambda: ppi_py.ppi_mean_ci(a, b, c), vectors),
        "ols": (lambda: rectified_ols(a, b, c, d, e), lambda: ppi_py.ppi_ols_ci(d, a, b, e, c), tables),
        "logistic": (lambda: rectified_logistic(s, t, u, d, e), lambda: ppi_py.ppi_logistic_ci(d, s, t, e, u), tables),
        "median": (lambda: rectified_quantile(a, b, c), lambda: ppi_py.ppi_quantile_ci(a, b, c, 0.5), vectors),
    }


def _line(name: str, m: int, figure: dict[str, Any]) -> str:
    peer = "-" if figure["ppi_ms"] is None else f"{figure['ppi_ms']:,.1f}"
    faster = "-" if figure["faster"] is None else f"{figure['faster']:,.0f}x"
    memory = "-" if figure["times_inputs"] is None else f"{figure['times_inputs']:.2f}"
    return f"{name:10} {m:9,d} {figure['ours_ms']:10.2f} {peer:>12} {faster:>9} {WANTED[name]:6d}x {memory:>13}"


if __name__ == "__main__":
    main()
