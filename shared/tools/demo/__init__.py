"""The demo: a real grocer's year goes round the loop, and simulated shoppers close it."""
