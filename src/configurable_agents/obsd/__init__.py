"""The daemon: receives, commits, exports and answers. `app.py` shows how it is put together."""
