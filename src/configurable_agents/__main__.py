"""`python -m configurable_agents` is `agents-obs`."""

import sys

from configurable_agents.cli.doors import agents_obs

if __name__ == "__main__":
    sys.exit(agents_obs())
