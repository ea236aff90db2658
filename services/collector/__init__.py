"""The collector: takes in what happens, keeps it, turns it into sessions and counts."""
