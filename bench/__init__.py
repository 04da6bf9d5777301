"""The benchmark: compare the filer with similar programs in one run on one machine."""
