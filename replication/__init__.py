"""Copies of the whole registry on read-only slaves.

Here will live the feed that a master serves from its journal, the pure state machine of a slave, the
part that executes its instructions, the client that reads the feed, and the form of the messages.

May import registry.domain, registry.ports and registry.errors; nothing else of registry, and never p2p.
"""
