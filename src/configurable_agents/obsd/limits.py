"""Every bound of the daemon by name, and what happens when it is reached.

What a record itself may hold is bounded in `runtime.bounds` and `runtime.names`, which its recorder keeps to.
"""

from __future__ import annotations

from configurable_agents.runtime import bounds

MESSAGE_BYTES_MAX = 1024 * 1024
"""A longer gRPC message is refused by gRPC (RESOURCE_EXHAUSTED); our clients send at most a quarter."""

BATCH_EVENTS_MAX = 2000
"""A batch with more is refused whole (INVALID_ARGUMENT)."""

PRODUCER_ID_BYTES = 16
"""A batch with an identity of another length is refused whole (INVALID_ARGUMENT)."""

PENDING_BYTES_MAX = 8 * 1024 * 1024
"""Decoded and not yet committed, of all connections: seven transactions of ordinary events. Those that are
in no block take eight times their bytes. At the bound receivers stop reading, and HTTP/2 flow control slows
the senders; their events wait in their spools."""

ROOMLESS_BYTES_MAX = 64 * 1024 * 1024
"""Received while so much is pending, still as bytes: a message of each stream. Beyond it a stream is ended
(RESOURCE_EXHAUSTED); its events wait in its spool until it tries again."""

REFUSED_PRODUCERS_MAX = 100_000
"""Producers of whom a batch could not be committed and has not come again. The one refused longest ago is
forgotten: the stream that it came on has ended, and a new one begins where that one was acknowledged."""

COMMIT_EVENTS_MAX = 20_000
"""Events of one transaction. The rest waits for the next."""

BATCHES_IN_FLIGHT_MAX = 64
"""Unacknowledged batches of one stream. At the bound the receiver stops reading that stream."""

STREAM_PRODUCERS_MAX = 64
"""Producers one stream may speak for. A further one ends the stream (INVALID_ARGUMENT)."""

PRODUCERS_REMEMBERED_MAX = 100_000
"""Producers that are not connected of whom it is known when they were, and as many that send single batches.
The one heard of longest ago is forgotten: its run in flight is given up after the time that holds for all."""

STREAMS_MAX = 1024
"""Concurrent RPCs of all connections. Further ones are answered RESOURCE_EXHAUSTED."""

CONNECTION_STREAMS_MAX = 256
"""Concurrent RPCs of one connection. Further ones wait at their client for one to end."""

CONNECTIONS_MAX = 1024
"""Open connections. A further one is closed at once."""

HANDSHAKE_MS_MAX = 10_000
"""A connection that has not begun to speak HTTP/2 by then is closed."""

METADATA_BYTES_MAX = 8 * 1024
"""Headers of one RPC. One with more is answered RESOURCE_EXHAUSTED."""

PING_EVERY_MS_MIN = 10_000
PING_STRIKES_MAX = 2
"""A connection on which nothing runs and that pings more often than this, more often than that, is closed
(ENHANCE_YOUR_CALM)."""

LIVE_RUNS_MAX = 10_000
"""Runs with an analyzer in memory. Beyond it the one idle longest is let go; its report comes from
the ledger's rows."""

REBUILT_ROWS_MAX = 200_000
"""Executions of runs in flight that are read at a start, before anything is accepted: half a second. Runs
heard of longer ago are not rebuilt; their reports come from the ledger's rows."""

UNFINISHED_RUNS_MAX = 100_000
"""Runs in flight or without a profile that are looked at together: those silent longest. The rest has its
turn when these are done with."""

LIVE_FIGURES_MAX = 200_000
"""Nodes, and intervals of finished children, kept for all live runs together. Beyond it the run idle longest
is let go, as above."""

PENDING_CHILDREN_MAX = 100_000
"""Intervals of finished children kept per live run until their parent finishes. Beyond it they are
let go, the run's live self times are too high, and its final ones, made from the ledger, are exact."""

NAMES_CHECKED_MAX = 16_384
"""Names whose check is remembered at the door. The one not met longest is forgotten."""

RUN_NODES_MAX = bounds.RUN_NODES_MAX
"""Distinct nodes of one run. Executions and calls of further ones are added up as the node `__other__`."""

RUN_MODELS_MAX = 1_000
"""Distinct pairs of provider and model of one run. Further ones are added up as `__other__`, each call at
the price of its own model."""

NAMES_MAX = 2_000_000
"""Distinct names in the ledger: nodes, models, experiments, workflows, types of errors. A further one is
`__other__`."""

NAMES_CACHED_MAX = 50_000
"""Interned names kept in memory. At the bound the cache is emptied; the ledger has them."""

RUN_NAMES_CACHED_MAX = 100_000
"""Nodes and models of runs kept in memory. At the bound the cache is emptied; the ledger has them."""

COUNTERS_CACHED_MAX = 200_000
"""Call counters of run and node kept in memory. At the bound the cache is emptied; the ledger has them."""

ANNOUNCED_LATE_EVENTS_MAX = 5_000
"""A node that was told to have ended and is announced after up to so many further events is known to
have ended. Announced later still, it is shown as running until its run ends."""

EXPORT_EVENTS_MAX = 5_000
"""Events of one export. The rest waits for the next."""

EXPORT_FINALS_MAX = 50
"""Runs finished in one export. The rest waits for the next."""

EXPORT_PAGE_SPANS_MAX = 50_000
"""A longer run gets no picture in MLflow: making it would hold up the export."""

EXPORT_PAGE_ROWS_MAX = 5_000
"""Executions in the picture of a run in MLflow, the longest: half a megabyte."""

EXPORT_WORKER_BYTES_MAX = 1024 * 1024 * 1024
"""Data of the export worker's process (RLIMIT_DATA): three times the 331 MiB that MLflow, a full page of
events and the picture of the longest run with 9,000 nodes take. A worker that an answer of MLflow's would
drive beyond it ends, and is replaced after a pause; what it was doing counts for nothing."""

EXPORT_LINE_BYTES_MAX = 16 * 1024 * 1024
"""A longer answer of an export worker counts as its death."""

RUNS_LISTED_MAX = 1_000
"""Runs in one answer of ListRuns."""

RUNS_LISTED_DEFAULT = 20

GROUPS_MAX = 10_000
"""Groups in one answer of GetGroupedCosts. The rest is added up in one more."""

DEAD_LETTER_GROUPS_MAX = 1_000
"""Runs and reasons in one answer of ListDeadLetters: the most frequent ones."""

POINTS_LISTED_MAX = 5_000
"""Executions looked at for one answer of ListExpectedPoints; the next one goes on from there."""

DEAD_LETTERS_PER_STEP = 10_000
"""Dead letters that are tried again or dropped in one transaction. Events are taken in between."""

RECEIPTS_MAX = 100
"""Receipts in one answer of ExplainCalls."""

RECEIPTS_DEFAULT = 5

PROFILED_SPANS_MAX = 500_000
"""Executions of one run that are read at once for its profile. A longer run keeps the totals of its
analyzer (self times as they streamed in, no percentiles)."""

PROFILE_BYTES_PER_EXECUTION = 800
"""The daemon grows by less, for each execution, while it makes the profile of a run from its rows. Runs of
more than `LIVE_ROWS_MAX` executions are profiled one at a time; further ones wait."""

PROFILE_WAIT_S = 30.0
"""A report on runs that have just ended waits for their profiles, which are being made, this long at most;
then it makes them for itself."""

PROFILES_STORED_MAX = 64
"""Profiles stored in one transaction. The rest waits for the next."""

REPORT_NODES_MAX = 10_000
"""Nodes of a profile over several runs. Further ones are added up as the node `__other__`."""

MERGED_RUNS_MAX = 1_000
MERGED_BLOCKS_MAX = 1_000
"""Runs whose percentiles, critical paths and models one report merges one by one, and blocks of runs that
are added up already (see `ledger.profile_blocks`): the newest of its scope. Older ones are left out there;
their sums are not."""

MERGED_ROWS_MAX = 50_000
"""Nodes of runs in such a report, counted once per run. Beyond it older runs are left out."""

HISTORY_RUNS_MAX = 30
HISTORY_LOOKED_AT_MAX = 300
"""Runs whose p95 a report over several runs shows one by one: the newest that had the node, and how many
runs are looked at to find them."""

TIMELINES_MAX = 2
"""Timelines answered at the same time. Further ones wait."""

TIMELINE_PART_ROWS = 4_000
"""Executions, or calls, in one part of a timeline: what is held of it at a time, however long the run."""

TIMELINE_S_MAX = 60.0
"""A timeline is one look at the ledger, whose log cannot be folded in meanwhile. A client that takes
longer for it is cut off."""

TIMELINE_BYTES_MAX = 16 * 1024 * 1024
"""The daemon grows by less while it answers a timeline of any length."""

PAST_RUNS_MAX = 100
PAST_NODES_MAX = 200
"""Runs, and nodes of each, in one answer about runs side by side: the newest, and the slowest."""

WATCHED_RUNS_MAX = 50
WATCHED_NODES_MAX = 20
"""Runs in flight, and nodes of each, in one update of a live view: the newest, and the oldest."""

WATCH_EVERY_MS = 1_000
WATCH_EVERY_MS_MIN = 200
"""How often a live view is updated, when its client does not say, and at most."""

ANSWER_STREAMS_MAX = 256
"""Timelines and live views at a time. One that was cut off counts until its client reads its end or goes:
gRPC keeps its call until then. Further ones are answered RESOURCE_EXHAUSTED; other calls stay for events."""

UNREAD_S = 10.0
"""A client of a stream that lets a message wait for longer is cut off."""

LIVE_ROWS_MAX = 20_000
"""A run in flight with more executions is reported from its analyzer, not from its rows."""

REPORT_READERS_MAX = 4
"""Reports computed at the same time. Further ones wait."""

RETIRED_ROWS_PER_STEP = 1_000
"""Executions, and calls, of a run that one transaction of the retention removes: commits of events that
wait meanwhile wait for some milliseconds."""

REMOVED_RUNS_PER_STEP = 20
"""The same for whole runs, of which only totals are left."""

RETIRED_RUNS_PER_LOOK = 200
"""Runs found at one look for what is no longer needed. The next look follows at once."""

RETURNED_PAGES_PER_STEP = 500
"""Pages that one step gives back to the file system: 2 MB."""

FREE_PAGES_KEPT = 250
"""Free pages (1 MB) that are left to be used again: giving back and taking anew costs more."""

WAL_BYTES_MAX = 64 * 1024 * 1024
"""A write-ahead log that has grown beyond it, because somebody read for long, is folded in and cut off
as soon as nobody reads behind it."""

REPORT_S_MAX = 60.0
"""A report that takes longer is given up, so that the log can be folded in. One whose client has hung up is
given up at once."""

CHECK_S_MAX = 0.5
"""What SQLite's check of the ledger may take at a start: about 10^6 events. A larger ledger is checked
while the daemon already works, which stops when it finds damage."""

SEALED_BYTES_MAX = 256 * 1024 * 1024
"""A larger ledger gets no checksum when the daemon stops: making and comparing it would take long."""

UNREADABLE_PLACES_MAX = 100_000
"""How often reading a table of a damaged ledger may fail before its rest is given up."""
