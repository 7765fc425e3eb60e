"""The input and the output of `docker buildx bake`."""
