"""Where many images go: one file for each kind of output, all with flat memory."""
