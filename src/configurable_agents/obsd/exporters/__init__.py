"""Ways out. Each reads the ledger after its own cursor and writes elsewhere, in a process of its own."""
