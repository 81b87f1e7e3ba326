"""What a slave may show, by what it was told and what it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain import events
from registry.domain.changes import Show
from registry.domain.replica import Pending
from replication.state import Entry, Plan, UnreadableError, needed_blobs, plan, targets
from tests.harness import content
from tests.harness.content import Blob, Image

REPO = "team/app"
ONE, TWO = content.small_image(1), content.small_image(2)
BOTH = content.index(ONE, TWO)


class Told:
    """Changes as a master tells of them."""

    def __init__(self) -> None:
        self.pending: list[Pending] = []

    def put(self, manifest: Blob, *tags: str) -> Told:
        payload = {"digest": manifest.digest, "media_type": manifest.media_type, "tags": tags}
        return self._tell(events.MANIFEST_PUT, payload, manifest.content)

    def delete(self, manifest: Blob) -> Told:
        return self._tell(events.MANIFEST_DELETE, {"digest": manifest.digest})

    def tag(self, name: str, manifest: Blob) -> Told:
        return self._tell(events.TAG_SET, {"tag": name, "digest": manifest.digest})

    def untag(self, name: str) -> Told:
        return self._tell(events.TAG_DELETE, {"tag": name})

    def _tell(self, kind: str, payload: object, content: bytes = b"") -> Told:
        number = len(self.pending) + 1
        self.pending.append(Pending(number, REPO, number, kind, json.dumps(payload).encode(), content))
        return self

    @property
    def entries(self) -> list[Entry]:
        return [Entry.of(each) for each in self.pending]

    def plan(self, *images: Image, shown: tuple[Blob, ...] = (), settled: int = 0) -> Plan:
        """With the blobs of these images here, and these manifests shown."""
        blobs = {blob.digest for image in images for blob in image.blobs}
        return plan(REPO, self.entries, blobs, {manifest.digest for manifest in shown}, settled)


def shown(found: Plan) -> Show:
    assert found.show is not None
    return found.show


def test_an_image_is_shown_once_all_of_it_is_here() -> None:
    told = Told().put(ONE.manifest, "v1")
    assert needed_blobs(told.entries) == {blob.digest for blob in ONE.blobs}
    waiting = told.plan()
    assert waiting.show is None
    assert {wanted.digest for wanted in waiting.wanted} == {blob.digest for blob in ONE.blobs}
    assert {wanted.digest: wanted.size for wanted in waiting.wanted} == {blob.digest: blob.size for blob in ONE.blobs}
    found = told.plan(ONE)
    assert found.wanted == ()
    assert [str(manifest.digest) for manifest in shown(found).puts] == [ONE.digest]
    assert shown(found).tags == (("v1", ONE.digest),)


def test_what_comes_later_waits_for_what_came_before() -> None:
    told = Told().put(ONE.manifest, "latest").put(TWO.manifest, "latest")
    assert told.plan(TWO).show is None
    first = shown(told.plan(ONE))
    assert (first.through, first.tags) == (1, (("latest", ONE.digest),))
    assert shown(told.plan(ONE, TWO)).tags == (("latest", TWO.digest),)


def test_what_was_deleted_meanwhile_needs_nothing() -> None:
    told = Told().put(ONE.manifest, "v1").delete(ONE.manifest).put(TWO.manifest, "v2")
    found = shown(told.plan(TWO))
    assert [str(manifest.digest) for manifest in found.puts] == [TWO.digest]
    assert dict(found.tags) == {"v1": "", "v2": TWO.digest}
    assert found.deletes == (ONE.digest,)
    assert {wanted.digest for wanted in told.plan().wanted} == {blob.digest for blob in TWO.blobs}


def test_an_index_and_the_image_that_is_deleted_from_it_while_we_are_away() -> None:
    told = Told().put(ONE.manifest).put(TWO.manifest).put(BOTH.manifest, "list").delete(TWO.manifest)
    assert targets(told.entries) == {BOTH.digest, ONE.digest, TWO.digest}
    found = shown(told.plan(ONE))
    assert found.forgiven == (TWO.digest,)
    assert {str(manifest.digest) for manifest in found.puts} == {ONE.digest, BOTH.digest}


def test_a_tag_that_moves_to_what_is_shown_already() -> None:
    told = Told().tag("v1", ONE.manifest)
    assert told.plan().show is None, "its manifest is neither shown nor on its way"
    assert shown(told.plan(shown=(ONE.manifest,))).tags == (("v1", ONE.digest),)
    gone = Told().delete(ONE.manifest).tag("v1", ONE.manifest)
    assert shown(gone.plan(shown=(ONE.manifest,))).through == 1
    assert dict(shown(Told().untag("v1").plan()).tags) == {"v1": ""}


def test_a_snapshot_is_shown_together_with_the_log_up_to_its_end() -> None:
    told = Told().put(ONE.manifest, "v1").put(TWO.manifest, "v1").tag("v2", TWO.manifest)
    assert shown(told.plan(ONE, TWO, settled=2)).through == 3
    assert told.plan(ONE, settled=2).show is None, "of what overlaps nothing is shown alone"
    assert shown(told.plan(ONE)).through == 1


@pytest.mark.parametrize(
    ("kind", "payload", "bytes_"),
    [
        ("manifest.put", {"digest": ONE.digest, "media_type": content.OCI_MANIFEST, "tags": []}, b"{}"),
        ("manifest.put", {"digest": ONE.digest, "media_type": content.OCI_MANIFEST, "tags": []}, TWO.manifest.content),
        ("manifest.put", {"media_type": content.OCI_MANIFEST}, ONE.manifest.content),
        ("repository.rename", {}, b""),
    ],
)
def test_what_cannot_be_read_is_told(kind: str, payload: object, bytes_: bytes) -> None:
    with pytest.raises(UnreadableError, match=r"event 7 .* of team/app cannot be read"):
        Entry.of(Pending(1, REPO, 7, kind, json.dumps(payload).encode(), bytes_))


IMAGES = [content.small_image(number) for number in range(4)]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "tag", "untag"]), st.integers(0, 3), st.sampled_from("abc")),
    max_size=12,
)


@given(STEPS, st.sets(st.integers(0, 3)), st.integers(0, 12))
def test_whatever_is_told_only_whole_states_of_the_master_are_shown(
    steps: list[tuple[str, int, str]], here: set[int], already: int
) -> None:
    """A slave that shows some state of the master is told of all that came after it."""
    told, states = _history(steps)
    already = min(already, len(told.pending))
    before = states[already]
    rest = Told()
    rest.pending = told.pending[already:]
    if not rest.pending:
        return
    found = _plan(rest, before, {IMAGES[number].digest for number in here})
    if found.show is not None:
        after = _shown(before, found.show)
        assert after == states[found.show.through]
        assert after.manifests <= before.manifests | {IMAGES[number].digest for number in here}
    everything = _plan(rest, before, {image.digest for image in IMAGES})
    assert everything.wanted == ()
    assert _shown(before, shown(everything)) == states[-1]


@dataclass(frozen=True)
class State:
    manifests: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)

    def without(self, digest: str) -> State:
        return State(self.manifests - {digest}, {name: to for name, to in self.tags.items() if to != digest})


def _plan(told: Told, before: State, here: set[str]) -> Plan:
    blobs = {blob.digest for image in IMAGES if image.digest in here | before.manifests for blob in image.blobs}
    return plan(REPO, told.entries, blobs, before.manifests)


def _shown(before: State, show: Show) -> State:
    """What the storage makes of it."""
    tags = {name: digest for name, digest in before.tags.items() if digest not in show.renewed} | dict(show.tags)
    after = State(before.manifests | {str(put.digest) for put in show.puts}, {n: d for n, d in tags.items() if d})
    for digest in show.deletes:
        after = after.without(digest)
    return after


def _history(steps: list[tuple[str, int, str]]) -> tuple[Told, list[State]]:
    """What a master that refuses what cannot be tells of such steps, and its state before the first and after each."""
    told, state = Told(), State()
    states = [state]
    for kind, number, tag in steps:
        manifest = IMAGES[number].manifest
        if kind == "put":
            told.put(manifest, tag)
            state = State(state.manifests | {manifest.digest}, {**state.tags, tag: manifest.digest})
        elif kind == "delete" and manifest.digest in state.manifests:
            told.delete(manifest)
            state = state.without(manifest.digest)
        elif kind == "tag" and manifest.digest in state.manifests:
            told.tag(tag, manifest)
            state = replace(state, tags={**state.tags, tag: manifest.digest})
        elif kind == "untag" and tag in state.tags:
            told.untag(tag)
            state = replace(state, tags={name: digest for name, digest in state.tags.items() if name != tag})
        else:
            continue
        states.append(state)
    return told, states
