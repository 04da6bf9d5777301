"""The person at the shelf, who pulls and inserts drives; the program ``filer-shelf``."""
