"""Four providers as they look on the wire, with nothing behind them but arithmetic."""
