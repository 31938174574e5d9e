"""Connections to brokers, whatever their protocol: made, made again, and ended; the protocols' packages drive them."""
