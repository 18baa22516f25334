"""Stream analytics: ``state`` makes the documented numbers, ``routes`` answers the paths."""
