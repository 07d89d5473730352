"""Records in, renderables out. Nothing here fetches, and nothing outside here knows Rich's tables."""
