"""Signs images in the formats of cosign and notation, byte for byte as these programs lay them out.

Sources: cosign, specs/SIGNATURE_SPEC.md and specs/BUNDLE_SPEC.md, pkg/oci/remote/write.go; sigstore, pkg/signature/
payload; Notary Project, signature specification, "JWS Signature Envelope" and "COSE Sign1 Signature Envelope".
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.harness.content import OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Blob, Image, Json, json_blob

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
NOTARY = "application/vnd.cncf.notary.signature"
JWS = "application/jose+json"
SIGNED_IMAGE = "https://sigstore.dev/cosign/sign/v1"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def new_key(kind: str = "P-256") -> PrivateKey:
    """A key of one of the kinds P-256, P-384, RSA-2048, RSA-3072, Ed25519."""
    match kind:
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, int(kind.removeprefix("RSA-")))


def public_pem(key: PrivateKey) -> str:
    public = key.public_key()
    kind, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(kind, form).decode()


def sign(key: PrivateKey, message: bytes) -> bytes:
    """As cosign does: ECDSA over SHA-256 or the curve's own digest, RSA by PKCS#1 v1.5."""
    match key:
        case ed25519.Ed25519PrivateKey():
            return key.sign(message)
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case _:
            return key.sign(message, ec.ECDSA(hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA256()))


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def b64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def signature_tag(digest: str) -> str:
    return digest.replace(":", "-") + ".sig"


def payload(digest: str, reference: str = "", kind: str = "cosign container image signature") -> bytes:
    """A payload of simple signing."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": kind,
    }
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def signature_image(*signed: tuple[bytes, bytes], subject: Blob | None = None) -> Image:
    """What cosign pushes for pairs of a payload and a signature: under the tag, or with a subject as a referrer."""
    payloads = [Blob(content, SIMPLE_SIGNING) for content, _ in signed]
    layers = [
        blob.descriptor(annotations={"dev.cosignproject.cosign/signature": b64(signature)})
        for blob, (_, signature) in zip(payloads, signed, strict=True)
    ]
    kind = COSIGN_ARTIFACT if subject else OCI_CONFIG
    settings = json_blob({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": []}}, kind)
    document: Json = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if subject is not None:
        document["artifactType"] = COSIGN_ARTIFACT
    document |= {"config": settings.descriptor(), "layers": layers}
    if subject is not None:
        document["subject"] = subject.descriptor()
    return Image(json_blob(document, OCI_MANIFEST), settings, tuple(payloads))


def simply_signed(manifest: Blob, *keys: PrivateKey, reference: str = "", referring: bool = False) -> Image:
    """The signatures of these keys over an image or index; push it under `signature_tag`, or as a referrer."""
    content = payload(manifest.digest, reference)
    pairs = [(content, sign(key, content)) for key in keys]
    return signature_image(*pairs, subject=manifest if referring else None)


def statement(digest: str, predicate: str = SIGNED_IMAGE, subjects: int = 1) -> bytes:
    """An in-toto statement, as protojson writes it (cosign, signDigestBundle)."""
    algorithm, _, hexadecimal = digest.partition(":")
    subject = [{"digest": {algorithm: hexadecimal}}] * subjects
    document = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": predicate}
    return json.dumps({**document, "predicate": {}}).encode()


def envelope(key: PrivateKey, content: bytes, kind: str = "application/vnd.in-toto+json") -> Json:
    """A DSSE envelope."""
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(content), content)
    return {"payload": b64(content), "payloadType": kind, "signatures": [{"sig": b64(sign(key, message))}]}


def bundle(key: PrivateKey, content: Mapping[str, object]) -> bytes:
    """A sigstore bundle around a `dsseEnvelope` or `messageSignature`."""
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    material = {"publicKey": {"hint": b64(hashlib.sha256(der).digest())}}
    return json.dumps({"mediaType": BUNDLE, "verificationMaterial": material, **content}).encode()


def referring_artifact(content: Blob, subject: Blob, artifact_type: str, config_type: str = OCI_EMPTY) -> Image:
    """A referrer of one layer. `config_type`: notation names its type there, cosign in artifactType."""
    settings = Blob(b"{}", config_type)
    document: Json = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if config_type == OCI_EMPTY:
        document["artifactType"] = artifact_type
    document |= {"config": settings.descriptor(), "layers": [content.descriptor()], "subject": subject.descriptor()}
    return Image(json_blob(document, OCI_MANIFEST), settings, (content,))


def bundled(manifest: Blob, key: PrivateKey, predicate: str = SIGNED_IMAGE) -> Image:
    """What `cosign sign` of version 3 pushes."""
    content = bundle(key, {"dsseEnvelope": envelope(key, statement(manifest.digest, predicate))})
    return referring_artifact(Blob(content, BUNDLE), manifest, BUNDLE)


def message_signed(manifest: Blob, key: PrivateKey) -> Image:
    """A bundle with a signature over the manifest itself."""
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(manifest.content).digest())}
    signature = {"messageDigest": digest, "signature": b64(sign(key, manifest.content))}
    return referring_artifact(Blob(bundle(key, {"messageSignature": signature}), BUNDLE), manifest, BUNDLE)


@dataclass(frozen=True)
class Signer:
    """A key with its chain of certificates, the signer's first, for notation."""

    key: PrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def root_pem(self) -> str:
        return self.chain[-1].public_bytes(serialization.Encoding.PEM).decode()

    @property
    def x5c(self) -> list[str]:
        return [b64(each.public_bytes(serialization.Encoding.DER)) for each in self.chain]


def certificate(
    name: str,
    key: PrivateKey,
    issuer: tuple[x509.Name, PrivateKey] | None = None,
    *,
    authority: bool = False,
    days: tuple[int, int] = (-1, 1),
    path_length: int | None = None,
    uses: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
) -> x509.Certificate:
    """A certificate as the Notary Project wants it, valid from and to these days from now."""
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issued_by, signed_by = issuer or (own, key)
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    built = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(issued_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage),
            critical=True,
        )
    )
    if not authority:
        built = built.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return built.sign(signed_by, None if isinstance(signed_by, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def new_signer(kind: str = "P-256", **leaf: Any) -> Signer:
    """A signer under an authority of its own."""
    root_key, key = new_key("P-256"), new_key(kind)
    root = certificate("the root", root_key, authority=True)
    return Signer(key, (certificate("a signer", key, (root.subject, root_key), **leaf), root))


ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "RSA-2048": "PS256", "RSA-3072": "PS384"}
_DIGESTS = {"256": hashes.SHA256(), "384": hashes.SHA384()}


def notary_sign(key: PrivateKey, algorithm: str, message: bytes) -> bytes:
    """A signature in the form of JWS and COSE: r and s side by side, or RSASSA-PSS."""
    digest = _DIGESTS[algorithm[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    length = key.curve.key_size // 8
    return b"".join(part.to_bytes(length, "big") for part in decode_dss_signature(key.sign(message, ec.ECDSA(digest))))


def target(manifest: Blob) -> bytes:
    """The payload of notation."""
    return json.dumps({"targetArtifact": manifest.descriptor()}).encode()


def jws(signer: Signer, content: bytes, algorithm: str = "ES256", **headers: object) -> bytes:
    """An envelope of notation; `headers` change or add to the protected ones."""
    protected = {
        "alg": algorithm,
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": ["io.cncf.notary.signingScheme"],
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": datetime.now(UTC).isoformat(timespec="seconds"),
        **headers,
    }
    first, second = b64url(json.dumps(protected).encode()), b64url(content)
    signature = notary_sign(signer.key, algorithm, f"{first}.{second}".encode())
    unprotected = {"x5c": signer.x5c, "io.cncf.notary.signingAgent": "notation-go/1.3.2"}
    document = {"payload": second, "protected": first, "header": unprotected, "signature": b64url(signature)}
    return json.dumps(document).encode()


def notation_signed(manifest: Blob, signer: Signer, algorithm: str = "ES256") -> Image:
    """What `notation sign` pushes."""
    return referring_artifact(Blob(jws(signer, target(manifest), algorithm), JWS), manifest, NOTARY, NOTARY)


def artifact_without_subject(signature: Image) -> Blob:
    """The manifest of a signature as a client pushes it that keeps a list of referrers by itself."""
    document = signature.manifest.json()
    del document["subject"]
    return json_blob(document, OCI_MANIFEST)


def referrers_list(*manifests: Blob) -> Blob:
    """What such a client keeps under the tag of the referrers."""
    entries = [blob.descriptor(artifactType=blob.json().get("artifactType")) for blob in manifests]
    return json_blob({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, OCI_INDEX)


def index_of(*manifests: Blob) -> Blob:
    """An index of manifests of any kind."""
    entries = [blob.descriptor() for blob in manifests]
    return json_blob({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, OCI_INDEX)
