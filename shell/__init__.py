"""The console of a filer: command lines, terminals, scripts and SSH."""
