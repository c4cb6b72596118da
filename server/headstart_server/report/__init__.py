"""Reports about a version as HTML page, JSON and text."""
