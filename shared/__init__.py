"""What the services of shoploop have in common: contracts, runtime, learning, tools."""
