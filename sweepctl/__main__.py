"""`python -m sweepctl` is the command `sweepctl`."""

from sweepctl.cli import main

main()
