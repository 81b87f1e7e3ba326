"""The registry over HTTP: one URL map, handlers by resource."""
