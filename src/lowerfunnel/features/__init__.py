"""What a model may know: vocabularies, item and user features, histories."""
