"""Decisions without I/O: they hold, or refuse with the one error that says so, for every input."""

from __future__ import annotations

import hashlib
import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from registry.domain import manifest as manifests
from registry.domain.digest import ALGORITHMS, Digest
from registry.domain.manifest import DOCKER_IMAGE, DOCKER_LIST, OCI_ARTIFACT, OCI_IMAGE, OCI_INDEX, RefKind
from registry.domain.names import parse_reference, parse_repository, parse_tag
from registry.domain.upload import ChunkRange, UploadState, check_chunk, check_received
from registry.errors import (
    BlobUploadInvalid,
    DigestInvalid,
    ManifestInvalid,
    NameInvalid,
    RangeUnsatisfiable,
    SizeInvalid,
    TagInvalid,
    UploadRangeInvalid,
)
from registry.http import ranges
from registry.storage import hashing
from tests.harness.content import Blob, Json

# The expressions of the OCI distribution specification, "Pulling manifests".
NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

near_names = st.text(alphabet="ab0._-/A \n", max_size=12) | st.text(max_size=20)


class TestNames:
    @given(st.from_regex(NAME, fullmatch=True) | near_names)
    def test_a_repository_is_taken_where_the_grammar_has_it(self, text: str) -> None:
        try:
            assert parse_repository(text) == text
            taken = True
        except NameInvalid:
            taken = False
        assert taken == bool(NAME.fullmatch(text) and len(text) <= 255)

    @given(st.from_regex(TAG, fullmatch=True) | near_names)
    def test_a_tag_is_taken_where_the_grammar_has_it(self, text: str) -> None:
        try:
            assert parse_tag(text) == text
            taken = True
        except TagInvalid:
            taken = False
        assert taken == bool(TAG.fullmatch(text))

    @given(st.text() | st.from_regex(r"(sha256|sha512):[0-9a-f]*", fullmatch=True))
    def test_a_reference_is_a_tag_or_a_digest_or_refused(self, text: str) -> None:
        try:
            assert str(parse_reference(text)) == text
        except (TagInvalid, DigestInvalid) as refusal:
            json.dumps(refusal.detail)


class TestDigests:
    @given(st.binary(), st.sampled_from(ALGORITHMS))
    def test_of_some_content(self, content: bytes, algorithm: str) -> None:
        digest = Digest.of(content, algorithm)
        assert digest == Digest.parse(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @given(st.text() | st.from_regex(r"[a-z0-9+._-]{1,10}:[a-fA-F0-9=_-]{0,130}", fullmatch=True))
    def test_of_text(self, text: str) -> None:
        try:
            digest = Digest.parse(text)
        except DigestInvalid:
            return
        assert str(digest) == text
        assert len(digest.hex) * 4 == int(digest.algorithm.removeprefix("sha"))

    @given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from(ALGORITHMS))
    def test_a_hash_goes_on_from_its_state_at_any_split(self, chunks: list[bytes], algorithm: str) -> None:
        running = hashing.start(algorithm)
        for chunk in chunks:
            running.update(chunk)
            resumed = hashing.resume(algorithm, running.state)
            assert resumed is not None
            running = resumed
        assert running.digest() == Digest.of(b"".join(chunks), algorithm)


class TestRanges:
    @given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9, -]{0,30}", fullmatch=True), st.integers(0, 2**63))
    @example("bytes=-", 5)
    def test_whatever_is_asked_lies_inside(self, header: str, size: int) -> None:
        try:
            found = ranges.parse(header, size)
        except RangeUnsatisfiable:
            return
        assert all(0 <= wanted.start < wanted.stop <= size for wanted in found)
        assert len(found) < 2 or sum(wanted.length for wanted in found) <= size

    @given(
        st.binary(min_size=1, max_size=50),
        st.lists(st.tuples(st.none() | st.integers(0, 60), st.none() | st.integers(0, 60)), min_size=1, max_size=4),
    )
    def test_what_is_asked_is_what_is_given(self, content: bytes, specs: list[tuple[int | None, int | None]]) -> None:
        """Against slices of Python."""
        asked, wanted = [], []
        for first, last in specs:
            if first is None and last is None:
                continue
            if first is not None and last is not None and last < first:
                continue
            asked.append(f"{'' if first is None else first}-{'' if last is None else last}")
            if first is None:
                assert last is not None
                wanted.append(content[len(content) - min(last, len(content)) :])
            else:
                wanted.append(content[first : None if last is None else last + 1])
        wanted = [part for part in wanted if part]
        try:
            found = ranges.parse("bytes=" + ",".join(asked), len(content))
        except RangeUnsatisfiable:
            assert not wanted
            return
        if not found:
            assert sum(map(len, wanted)) > len(content)
            return
        assert [content[part.start : part.stop] for part in found] == wanted


class TestChunks:
    @given(st.text(max_size=30) | st.from_regex(r"(bytes )?[0-9]{0,22}-[0-9]{0,22}", fullmatch=True))
    def test_a_content_range_reads_or_is_refused(self, header: str) -> None:
        try:
            found = ChunkRange.parse(header)
        except BlobUploadInvalid:
            return
        assert f"{found.start}-{found.end}" in re.sub(r"(?<![0-9])0+(?=[0-9])", "", header)

    @given(
        st.lists(
            st.tuples(st.integers(-3, 3), st.integers(0, 9), st.integers(-1, 1), st.integers(-1, 1), st.booleans()),
            max_size=12,
        )
    )
    def test_a_session_takes_exactly_the_chunks_in_order(self, chunks: list[tuple[int, int, int, int, bool]]) -> None:
        """Each chunk is `skew` bytes off the offset and `length` long, its length told and sent is off as well."""
        offset = 0
        for skew, length, told, sent, with_length in chunks:
            start = max(offset + skew, 0)
            content_range = ChunkRange(start, start + length - 1)
            state = UploadState("id", "repo", "sha256", offset)
            try:
                check_chunk(state, content_range, max(length + told, 0) if with_length else None)
                check_received(content_range, max(length + sent, 0))
                taken = True
            except (UploadRangeInvalid, SizeInvalid):
                taken = False
            right_length = max(length + sent, 0) == length and (not with_length or max(length + told, 0) == length)
            assert taken == (start == offset and length > 0 and right_length)
            offset += length if taken else 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
PART = Blob(b"part", "application/vnd.example.part").descriptor()
FIELDS = (
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "blobs",
    "subject",
    "artifactType",
    "annotations",
)
near_descriptors = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.just(PART["mediaType"]) | json_values,
        "digest": st.just(PART["digest"]) | json_values,
        "size": st.just(4) | json_values,
        "urls": json_values,
        "annotations": json_values,
        "artifactType": json_values,
        "platform": json_values | st.fixed_dictionaries({"os": st.just("linux"), "architecture": st.just("amd64")}),
    },
)
near_fields = near_descriptors | st.lists(near_descriptors | st.just(PART), max_size=3) | json_values | st.just(2)
near_manifests = st.dictionaries(st.sampled_from(FIELDS), near_fields, max_size=9)
content_types = st.none() | st.sampled_from(
    [OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST, OCI_ARTIFACT, "application/vnd.example+json"]
)


class TestManifests:
    @given(st.binary() | json_values.map(json.dumps).map(str.encode), content_types | st.text())
    def test_arbitrary_bytes_are_read_or_refused(self, content: bytes, content_type: str | None) -> None:
        self.read(content, content_type)

    @given(near_manifests, content_types, st.booleans())
    def test_what_is_nearly_a_manifest_is_read_or_refused(
        self, document: Json, content_type: str | None, complete: bool
    ) -> None:
        if complete:
            document = {"schemaVersion": 2, "config": PART, "layers": [PART]} | document
        self.read(json.dumps(document).encode(), content_type)

    @given(
        st.lists(st.binary(max_size=5), max_size=4),
        st.none() | st.text(max_size=5),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        st.integers(0, 4),
    )
    def test_a_good_image_is_read_in_full(
        self, layers: list[bytes], artifact_type: str | None, annotations: dict[str, str], indent: int
    ) -> None:
        descriptors = [Blob(content, "application/x").descriptor() for content in layers]
        document: Json = {"schemaVersion": 2, "config": PART, "layers": descriptors, "annotations": annotations}
        if artifact_type is not None:
            document["artifactType"] = artifact_type
        content = json.dumps(document, indent=indent).encode()
        found = manifests.parse(content, OCI_IMAGE, "sha512")
        assert dict(found.refs) == dict.fromkeys([PART["digest"], *(d["digest"] for d in descriptors)], RefKind.BLOB)
        assert found.artifact_type == (artifact_type or PART["mediaType"])
        assert dict(found.annotations) == annotations
        assert (found.content, found.digest) == (content, Digest.of(content, "sha512"))

    def read(self, content: bytes, content_type: str | None) -> None:
        for entry in manifests.fallback_descriptors(content):
            assert str(Digest.parse(entry.digest)) == entry.digest
            json.dumps(entry.to_json())
        manifests.default_platform(content)
        try:
            found = manifests.parse(content, content_type, "sha256")
        except ManifestInvalid as refusal:
            json.dumps(refusal.detail)
            return
        assert found.content == content
        for target, kind in found.refs:
            if kind in (RefKind.BLOB, RefKind.MANIFEST):
                assert str(Digest.parse(target)) == target
        if found.subject is not None:
            assert str(Digest.parse(found.subject)) == found.subject
        f"{found.media_type}{found.artifact_type or ''}{json.dumps(dict(found.annotations))}".encode()
