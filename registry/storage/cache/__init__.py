"""Copies on the local disk of blobs that lie elsewhere, within a bound of bytes."""
