"""What bench/run, bench/against and bench/share are made of. Python's own library only."""
