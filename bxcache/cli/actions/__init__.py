"""What each command does; these modules are imported when the command runs."""
