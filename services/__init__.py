"""The services of shoploop; each meets the others only in topics, releases and HTTP."""
