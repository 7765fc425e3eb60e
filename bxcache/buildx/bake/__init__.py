"""What is said to `docker buildx bake`, and what it answers."""
