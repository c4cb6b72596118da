"""Examples and inputs of predictions, from files, folders, arrays, tables and frames."""
