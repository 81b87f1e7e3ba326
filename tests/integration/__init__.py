"""The OCI distribution specification over HTTP, section by section, against real servers."""
