"""
How fast it is, beside a plain loop and beside peers, in one run.

``python -m benchmarks`` prints the tables.  Nothing here is asserted, and pytest collects nothing of it.
"""
