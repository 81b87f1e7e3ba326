"""Whether a policy is satisfied by a signature: the policy's keys and certificates, made ready once."""

from __future__ import annotations

from registry.domain.signing import SignaturePolicy
from registry.signatures import bundle, chains, cosign, notation
from registry.signatures.evidence import SIMPLE_SIGNING, Evidence
from registry.signatures.keys import read_keys
from registry.signatures.reading import NoSignatureError, Signed

FOREVER = float("inf")


class Verifier:
    """One policy. Raises ValueError where it names no keys or certificates, or what it names cannot be read."""

    def __init__(self, policy: SignaturePolicy) -> None:
        self.policy = policy
        self._keys = tuple(key for pem in policy.keys for key in read_keys(pem))
        self._trust = frozenset(each for pem in policy.trust for each in chains.read_certificates(pem))
        if not self._keys and not self._trust:
            raise ValueError("the policy has neither keys nor certificates, so that nothing could satisfy it")

    def check(self, evidence: Evidence, signed: Signed, now: float) -> float:
        """Until when (seconds since the epoch) the evidence is a signature of the image that satisfies the policy.

        Raises NoSignatureError.
        """
        kind = evidence.pointer.media_type
        if kind == notation.JWS and self._trust:
            return notation.check(evidence.content, signed, self._trust, now)
        if kind == bundle.BUNDLE and self._keys:
            bundle.check(evidence.content, signed, self._keys)
            return FOREVER
        if kind == SIMPLE_SIGNING and self._keys:
            cosign.check(evidence.content, evidence.pointer.signature, signed, self._keys)
            return FOREVER
        raise NoSignatureError("it is of a kind that the policy has no key or certificate for")

    def check_any(self, evidence: tuple[Evidence, ...], signed: Signed, now: float) -> float | None:
        """As `check`, for the first of several that is one; None where none of them is."""
        for each in evidence:
            try:
                return self.check(each, signed, now)
            except NoSignatureError:
                continue
        return None
