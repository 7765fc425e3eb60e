"""A build's report as text: JSON, Markdown, one HTML page, and plain lines for a terminal."""
