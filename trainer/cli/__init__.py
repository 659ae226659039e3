"""The trainer's commands: each parses its options, checks them, calls the library and says what was written."""
