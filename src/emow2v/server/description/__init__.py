"""How /v1 describes itself: one table of operations, and the OpenAPI document that is made with it."""
