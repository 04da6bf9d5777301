"""The console over SSH: who may log in, how their bytes get in and out, and how long it lasts."""
