"""A build's report as text: JSON, Markdown, an HTML page, and plain lines for a terminal."""
