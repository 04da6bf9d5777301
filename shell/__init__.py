"""The shell of a filer: lines and words, grammar, terminals and scripts. Knows people."""
