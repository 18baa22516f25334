"""Measures the product's cost and speed, and checks the committed figures."""
