"""A model of what a power loss can leave of a file tree.

``trace`` records the system calls that change a directory, ``states`` computes the trees that POSIX
allows on the medium after a power loss, ``tree`` represents such a tree.
"""
