"""The durable record of everything received. `writer` commits, `queries` read, `schema.sql` is the form."""
