"""llama.cpp through llama-cpp-python's low-level C API: our own continuous batching."""
