"""Connections to brokers, whatever their protocol, which the protocols' packages drive; and how servers end."""
