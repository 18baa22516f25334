"""The five systems that Headcount replaces, each a thin adapter of the native core.

``web/routing.py`` says which paths a module handles.
"""
