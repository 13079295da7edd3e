"""Serving candidates: online store, published versions, blending, the HTTP server and its page."""
