"""Builds the Debian packages: `python -m packages`, or `make deb`. Nothing of this is installed."""
