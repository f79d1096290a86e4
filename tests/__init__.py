"""The tests that belong to no single extension; `python -m tests` sets up and runs them all."""
