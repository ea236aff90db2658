"""The `shoploop` command."""
