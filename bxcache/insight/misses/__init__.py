"""Why steps were executed: what differs between a build and the one whose cache it had."""
