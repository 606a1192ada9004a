"""Runs that take turns: each result as if it were alone, a short run beside long ones, and what a run will cost."""
