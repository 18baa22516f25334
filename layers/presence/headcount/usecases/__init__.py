"""One module for each function folder, and what several of them share. Clients are passed in."""
