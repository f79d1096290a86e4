"""The texts from which the guide is trained, and the parts that train, export and measure it."""
