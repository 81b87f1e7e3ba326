"""What the services need of the world, as protocols.

One module for each concern; import from here, whichever it is. Adapters live in `registry.storage`; the ports of
pushing and pulling have fakes for tests in `registry.storage.memory`, and one contract suite is run over every adapter.
"""

from registry.ports.access import Access, AccessReader
from registry.ports.audit import Audit
from registry.ports.blobs import BlobFile, BlobStore, BlobStream, Leases, Removals, StoredBlob, reading
from registry.ports.checking import DanglingReference, Inventory, StoredBytes
from registry.ports.journal import Changes, Journal
from registry.ports.metadata import BlobLink, MetadataReader, Page, StoredManifest
from registry.ports.moving import Adopter, MoveReader, Original, Placer, StoredObject, planned
from registry.ports.signatures import SignaturePolicies
from registry.ports.uploads import AbandonedUpload, Remains, SessionReader, UploadStore, UploadWriter

__all__ = [
    "AbandonedUpload",
    "Access",
    "AccessReader",
    "Adopter",
    "Audit",
    "BlobFile",
    "BlobLink",
    "BlobStore",
    "BlobStream",
    "Changes",
    "DanglingReference",
    "Inventory",
    "Journal",
    "Leases",
    "MetadataReader",
    "MoveReader",
    "Original",
    "Page",
    "Placer",
    "Remains",
    "Removals",
    "SessionReader",
    "SignaturePolicies",
    "StoredBlob",
    "StoredBytes",
    "StoredManifest",
    "StoredObject",
    "UploadStore",
    "UploadWriter",
    "planned",
    "reading",
]
