"""Measurements of Shoal, beside a registry that many know, on the machine at hand."""
