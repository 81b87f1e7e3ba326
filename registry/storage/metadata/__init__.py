"""Metadata in SQL: repositories, tags, manifests, links to blobs, and the journal of every change."""
