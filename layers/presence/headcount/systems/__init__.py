"""The five systems Headcount replaces: a thin adapter each, over the native core."""
