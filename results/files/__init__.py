"""What lies under runs/: finds the files, reads what is new in them, makes rows of it."""
