"""One file per item; its docstring says what it measures."""
