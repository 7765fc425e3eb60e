"""BuildKit's progress stream: raw lines in, events and a trace out."""
