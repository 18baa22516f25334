"""The tables: one module each. Key names live in ``keys``, the wire codec in ``attributes``."""
