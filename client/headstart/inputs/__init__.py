"""Examples and prediction inputs from files, folders, arrays, tables and frames."""
