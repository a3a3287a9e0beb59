"""The command line: arguments in, report out. Nothing else prints."""
