"""The workflow runner: a YAML file becomes a checked plan, and the plan runs on LangGraph."""
