"""What only a graphics card shows: see README.md."""
