"""Output for people and scripts. Renders values; computes none."""
