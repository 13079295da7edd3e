"""What may be served: segments of items, the filters of a request, and what is eligible at the moment."""
