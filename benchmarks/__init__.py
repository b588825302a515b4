"""How fast facetracks is, as ratios to what the machine could do: `python -m benchmarks`.

The method, the targets and what was expected and found are in `benchmarks/README.md`.
"""
