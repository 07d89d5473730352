"""What every item needs: turns taken by contenders, figures, a daemon to load, a document to write."""
