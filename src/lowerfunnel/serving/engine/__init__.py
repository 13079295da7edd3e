"""What answers: one live version, fresh items beside it, timelines from the store, several generators blended."""
