"""Files of others, files that are whole or absent, folders that change places, and locks on outputs."""
