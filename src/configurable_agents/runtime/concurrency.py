"""How many executions did work of their own at the same time."""

from __future__ import annotations

from configurable_agents.runtime.schedule import BEGINS, ENDS, RUN, Schedule


def concurrency_profile(schedule: Schedule) -> dict[int, int]:
    """Nanoseconds of the run by how many executions were at work; sums to the wall.

    An execution is at work while it runs and none inside it does, so nesting does not count twice.
    Level 0 is the time in no node. Ascending levels. Time: O(n log n).
    """
    found: dict[int, int] = {}
    inside = [0] * len(schedule.spans)
    is_running = [False] * len(schedule.spans)
    level, since_ns = 0, schedule.started_ns
    for event in schedule.events:
        index, begins = event >> 2, bool(event & BEGINS)
        if begins and event & ENDS:
            continue  # without duration
        at_ns = schedule.starts[index] if begins else schedule.ends[index]
        if at_ns > since_ns:
            found[level] = found.get(level, 0) + at_ns - since_ns
            since_ns = at_ns
        owner = schedule.launchers[index]
        owner_runs = owner != RUN and is_running[owner]
        is_running[index] = begins
        if begins:
            level += 1 - (owner_runs and not inside[owner])
        else:
            level -= not inside[index]
        if owner != RUN:
            inside[owner] += 1 if begins else -1
            level += not begins and owner_runs and not inside[owner]
    if schedule.ended_ns > since_ns:
        found[level] = found.get(level, 0) + schedule.ended_ns - since_ns
    return dict(sorted(found.items()))


def average_concurrency(profile: dict[int, int]) -> float:
    """Executions at work on average over the run; 0 for a run without duration."""
    wall_ns = sum(profile.values())
    return sum(level * ns for level, ns in profile.items()) / wall_ns if wall_ns else 0.0
