"""python -m engine.worker RUN: executes one run. The only place that brings `runs` and `learning` together.

A run goes CoS-Low, pilot, law, plan, models, estimate, as far as its kind asks. Each step's result is stored under a
hash of everything that determines it, so a stopped run goes on where it stopped and nothing is computed twice.
"""
