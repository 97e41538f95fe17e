"""The web door: the HTTP API, sign-in, pages and metrics of one preceptor installation."""
