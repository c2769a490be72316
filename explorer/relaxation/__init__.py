"""From structures to minima: a batched minimiser, and the proof that what it found is one.

`relax` (with `steps`, and `swift` inside one compiled loop) follows quasi-Newton steps in the
coordinates of `internals`, with `stiffness` as its first guess; `polish` brings a stationary point
to float64 precision by exact Hessian-vector products, with `davidson` for the softest `modes`;
`certify` says what it is.
"""
