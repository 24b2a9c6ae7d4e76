"""The leaderboard: submissions as small JSON files, checked, and turned into a static site."""
