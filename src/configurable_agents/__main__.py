"""`python -m configurable_agents` is `agents-obs`."""

from configurable_agents.cli.doors import agents_obs

if __name__ == "__main__":
    agents_obs()
