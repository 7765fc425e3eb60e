"""What bxcache costs and what it saves, measured on request."""
