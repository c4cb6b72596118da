"""The commands that train and check datasets."""
