"""How people run shoploop: the command line, the local stack, the demo."""
