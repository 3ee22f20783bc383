"""Labelling: which rows of a pool to label (`picks`), and the sheet they are labelled on (`sheet`)."""
