"""The program ``filer-qualify``: is a key server fit for a filer?"""
