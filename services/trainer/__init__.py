"""History to datasets to models to gates to releases."""
