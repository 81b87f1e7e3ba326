"""Backups: each snapshot of the database with all the blobs that it names, every blob once for all snapshots."""
