"""Commands for the administrator of a server."""
