"""What pyworkers adds to other programs. Each module here needs the program it is for."""
