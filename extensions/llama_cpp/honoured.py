"""What the native engine honours; the server tells it before one is started."""

from extensions.engine_kit.api import SAMPLED

HONOURED = SAMPLED
