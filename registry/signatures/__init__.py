"""Verifying signatures of images: cosign, sigstore bundles, notation. Bytes in, a verdict out; no I/O."""
