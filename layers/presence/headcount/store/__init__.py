"""The tables: one module each. Key names are in ``keys``, the wire codec is in ``attributes``."""
