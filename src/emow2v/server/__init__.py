"""The server: the DISCOVER (NOVA-Server) protocol, /v1 for programs, live streams, and pages for the browser."""
