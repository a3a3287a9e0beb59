"""What happened to one message: its lines in the mail log, put together as a story."""
