"""From a person's events and a release to a ranked, filtered, explained list; no I/O."""
