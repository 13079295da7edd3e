"""The two towers as a server uses them: features of a request, its vector, vectors of new items."""
