"""The command line: arguments to a request, a result to text and an exit status."""
