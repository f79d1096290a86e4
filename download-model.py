"""Fetch a model: python download-model.py user/model. The same as python server.py download."""

import sys

from server import main

if __name__ == "__main__":
    sys.argv.insert(1, "download")
    main()
