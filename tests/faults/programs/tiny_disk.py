"""Fills a tiny disk and judges what came of it: tiny_disk.py WHAT HOME JOURNALS SETTINGS

To be run where the disk is mounted (see `harness.tiny_disk`). SETTINGS is a JSON object. Prints the
oracle's verdict as JSON: how many events it looked at, and its findings.
"""

from __future__ import annotations

import sys

from harness.tiny_disk import main

if __name__ == "__main__":
    main(*sys.argv[1:])
