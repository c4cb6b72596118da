"""Analysis of datasets: label issues, duplicates, outliers and recommendations."""
