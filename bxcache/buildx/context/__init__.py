"""The files of a build context: which of them docker sends, and what BuildKit sees of each."""
