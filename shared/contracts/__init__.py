"""What services say to each other; imports nothing else of shoploop."""
