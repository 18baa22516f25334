"""Stream analytics: ``state`` makes the documented numbers, ``routes`` handles the paths."""
