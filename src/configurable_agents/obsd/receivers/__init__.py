"""Ways in. Each turns what it receives into batches of records and hands them to the intake."""
