"""The program ``filer-storm``: do the key servers survive a power cut of the whole site?"""
