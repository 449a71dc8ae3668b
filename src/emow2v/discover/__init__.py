"""DISCOVER: data descriptors, options, the built-in module, and requests as tasks."""
