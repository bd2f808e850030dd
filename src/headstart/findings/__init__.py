"""What is wrong, or may be wrong, with the photos and labels of a data set."""
