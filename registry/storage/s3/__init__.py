"""A client of object stores that speak the S3 protocol; nothing here knows what a blob is."""
