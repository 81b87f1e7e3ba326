"""What the registry says about itself: logs and metrics."""
