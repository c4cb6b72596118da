"""Tables, listings, files and progress that the commands write."""
