"""Where work runs: processes of this machine, and the clock."""
