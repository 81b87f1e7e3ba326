"""The processes of a node: the node itself, and the workers that serve clients for it."""
