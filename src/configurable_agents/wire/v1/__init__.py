"""Generated from proto/; `make proto` rebuilds it."""
