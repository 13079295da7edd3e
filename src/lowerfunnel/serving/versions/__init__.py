"""Published versions: query tower, item index and feature schema that belong together, as one verified folder."""
