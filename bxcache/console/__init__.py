"""What a person looks at, and what a script reads. Renders values; makes none."""
