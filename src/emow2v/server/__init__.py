"""The DISCOVER (NOVA-Server) protocol over HTTP, for one model that stays loaded."""
