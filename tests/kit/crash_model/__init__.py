"""A model of what a loss of power can leave of a file tree.

``trace`` records the system calls that change a directory, ``states`` computes from them the trees
that POSIX allows on the medium after a loss of power, ``tree`` is such a tree.
"""
