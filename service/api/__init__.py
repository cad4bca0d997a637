"""The HTTP interface: routes, middleware, authentication, OpenAPI."""
