"""Connections: to brokers, whatever their protocol, made, made again, and ended, which the protocols' packages drive;
and the end of servers to which devices connect.
"""
