"""HTTP: requests in, responses out, and the routes between."""
