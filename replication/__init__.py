"""Copies of the whole registry on read-only slaves.

`wire` has the form of the messages. A master serves `feed` from its journal. A slave asks by `client`; `replica`
follows the log, `snapshot` takes one where there is none to follow, `state` decides without I/O what may be shown, and
`fetch` brings the blobs that are needed for it.

May import registry.domain, registry.ports and registry.errors; nothing else of registry, and never p2p.
"""
