"""Hosts on one machine: network namespaces, and links between them that are as slow, far and lossy as is asked."""
