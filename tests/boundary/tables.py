"""What exists, row by row: a new address or a new text joins here, and the attacks reach it."""

ROUTES = {
    # address: who may ask there
    "kernel /static/{file}": "public",
    "kernel /ext/{id}/static/{file}": "page",
    "kernel /": "page",
    "kernel /{anything}": "page",
    "kernel /ws": "page",
    "kernel /login": "door",
    "kernel /logout": "door",
    "chat /chat": "page",
    "chat /chat/x": "page",
    "settings /settings": "page",
    "settings /settings/x": "page",
}
"""Every address of kernel and extensions; "door": the door itself answers, whoever asks."""
