"""DISCOVER's words: data descriptors, option strings, the built-in module, and a request as a job."""
