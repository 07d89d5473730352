"""What the fault tests and `make soak` are made of: clients that keep journals, faults, and the oracle."""
