"""The whole local stack, as its users meet it: over HTTP, over WebSockets, in a browser."""
