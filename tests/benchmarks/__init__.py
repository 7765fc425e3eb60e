"""Measurements, on request, of bxcache's costs and savings."""
