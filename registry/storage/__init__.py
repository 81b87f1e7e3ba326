"""Adapters: where blobs, uploads and metadata are kept."""
