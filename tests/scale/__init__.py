"""Every SQL statement of the server on a large database: its time, and how the database finds its rows."""
