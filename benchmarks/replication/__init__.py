"""`shoal bench replication`: how far behind slaves are, how fast they catch up, and what they cost their master."""
