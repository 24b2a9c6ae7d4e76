"""How it is run: networks, experiments, training, run folders, tracking, executors, speed, commands."""
