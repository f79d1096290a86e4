"""Extensions that misbehave, in every way and at every point, and what that may cost."""
