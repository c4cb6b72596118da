"""All that is known about a version, as a page, as JSON and as text, from plain values of the rooms below."""
