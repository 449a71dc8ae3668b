"""Resumable uploads: the protocol tus 1.0.0 at /v1/uploads."""
