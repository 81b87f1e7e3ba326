"""Large layers that hosts fetch from each other.

Here will live the policy that says which blob goes to the swarm, the pure state machine of a swarm, the
metainfo made from a blob, the session (the only importer of libtorrent), the seeder, the tracker and the agent.

May import registry.domain, registry.ports and registry.errors; nothing else of registry, and never replication.
"""
