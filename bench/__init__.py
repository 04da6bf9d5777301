"""The benchmark: the filer beside its peers, on one machine, in one run, as ratios."""
