"""Everything said to docker and heard from it: commands, progress, metadata, capabilities."""
