"""Files that are whole or absent, folders that change places, and locks on what is written over time."""
