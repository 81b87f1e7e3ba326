"""Moving in: taking over what another registry holds."""
