"""Triton kernels of ``models.fused_triton``.

X channels come in, C go out, G are of the gate; XW, CW and GW are these, padded for matrix
products. A tile is TILE of the ``total`` = B ``steps`` steps of all waveforms. Tap k of the
dilated convolution reads ``k step - left`` steps away, zero beyond the own waveform's ends.
"""
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

# --- the gate ----------------------------------------------------------------------------------


@triton.jit
def gate_forward(both, z, total, inner, ELEMENTS: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    ok = at < total
    first = at + at // inner * inner  # (b, g, s) of the filter; the gate's is ``inner`` later
    f = tl.load(both + first, mask=ok, other=0.0)
    g = tl.load(both + first + inner, mask=ok, other=0.0)
    tl.store(z + at, (2.0 * tl.sigmoid(2.0 * f) - 1.0) * tl.sigmoid(g), mask=ok)


@triton.jit
def gate_backward(both, dz, d_both, total, inner, ELEMENTS: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    ok = at < total
    first = at + at // inner * inner
    t = 2.0 * tl.sigmoid(2.0 * tl.load(both + first, mask=ok, other=0.0)) - 1.0
    s = tl.sigmoid(tl.load(both + first + inner, mask=ok, other=0.0))
    d = tl.load(dz + at, mask=ok, other=0.0)
    tl.store(d_both + first, d * s * (1.0 - t * t), mask=ok)
    tl.store(d_both + first + inner, d * t * s * (1.0 - s), mask=ok)


# --- the block ---------------------------------------------------------------------------------


@triton.jit
def _matrix(start, rows, columns, row_step, column_step, H: tl.constexpr, W: tl.constexpr):
    """(rows, columns) numbers as (H, W), zero beyond."""
    r, c = tl.arange(0, H)[:, None], tl.arange(0, W)[None, :]
    inside = (r < rows) & (c < columns)
    return tl.load(start + r * row_step + c * column_step, mask=inside, other=0.0)


@triton.jit
def _store(start, values, rows, columns, row_step, column_step, H: tl.constexpr, W: tl.constexpr):
    r, c = tl.arange(0, H)[:, None], tl.arange(0, W)[None, :]
    inside = (r < rows) & (c < columns)
    tl.store(start + r * row_step + c * column_step, values, mask=inside)


@triton.jit
def _vector(start, count, H: tl.constexpr):
    at = tl.arange(0, H)
    return tl.load(start + at, mask=at < count, other=0.0)


@triton.jit
def _places(n, steps, rows, H: tl.constexpr):
    """Offsets of steps n, counted over all waveforms, in (B, rows, S); (H, TILE)."""
    n = n.to(tl.int64)
    return (n // steps * rows * steps + n % steps)[None, :] + tl.arange(0, H)[:, None] * steps


@triton.jit
def _columns(start, n, ok, steps, count, rows, H: tl.constexpr):
    """The first ``count`` rows of steps n of (B, rows, S) where ``ok``, else zero; (H, TILE)."""
    inside = (tl.arange(0, H)[:, None] < count) & ok[None, :]
    return tl.load(start + _places(n, steps, rows, H), mask=inside, other=0.0)


@triton.jit
def _put(start, values, n, ok, steps, count, rows, H: tl.constexpr):
    inside = (tl.arange(0, H)[:, None] < count) & ok[None, :]
    tl.store(start + _places(n, steps, rows, H), values, mask=inside)


@triton.jit
def _shifted(n, by, total, steps):
    """Whether the step ``by`` after n exists in the same waveform."""
    t = n % steps + by
    return (n < total) & (t >= 0) & (t < steps)


@triton.jit
def _relu(h):
    """As torch's: what is no number stays none. ``tl.maximum`` would hide it."""
    return tl.where(h <= 0.0, 0.0, h)


@triton.jit
def _mixed(x, n, ok, W1, B1, steps, X: tl.constexpr, XW: tl.constexpr, PRECISION: tl.constexpr):
    """h = relu(mix x) at steps n, zero where not ``ok``; (CW, TILE)."""
    h = tl.dot(W1, _columns(x, n, ok, steps, X, X, XW), input_precision=PRECISION) + B1[:, None]
    return tl.where(ok[None, :], _relu(h), 0.0)


@triton.jit
def _gates(
    x, n, W1, B1, w2, b2, total, steps, left, step, X: tl.constexpr, C: tl.constexpr,
    G: tl.constexpr, TAPS: tl.constexpr, XW: tl.constexpr, CW: tl.constexpr, GW: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """tanh(f) and sigmoid(g) at steps n; (GW, TILE) each."""
    f = tl.zeros((GW, TILE), tl.float32) + _vector(b2, G, GW)[:, None]
    g = tl.zeros((GW, TILE), tl.float32) + _vector(b2 + G, G, GW)[:, None]
    for k in range(TAPS):
        by = k * step - left
        h = _mixed(x, n + by, _shifted(n, by, total, steps), W1, B1, steps, X, XW, PRECISION)
        first = _matrix(w2 + k, G, C, C * TAPS, TAPS, GW, CW)
        second = _matrix(w2 + G * C * TAPS + k, G, C, C * TAPS, TAPS, GW, CW)
        f += tl.dot(first, h, input_precision=PRECISION)
        g += tl.dot(second, h, input_precision=PRECISION)
    return 2.0 * tl.sigmoid(2.0 * f) - 1.0, tl.sigmoid(g)


@triton.jit
def block_forward(
    x, w1, b1, w2, b2, w3, b3, following, skip, total, steps, left, step, X: tl.constexpr,
    C: tl.constexpr, G: tl.constexpr, TAPS: tl.constexpr, XW: tl.constexpr, CW: tl.constexpr,
    GW: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    W1, B1 = _matrix(w1, C, X, X, 1, CW, XW), _vector(b1, C, CW)
    n = tl.program_id(0) * TILE + tl.arange(0, TILE)
    ok = n < total
    t, s = _gates(
        x, n, W1, B1, w2, b2, total, steps, left, step, X, C, G, TAPS, XW, CW, GW, TILE, PRECISION
    )
    W3 = _matrix(w3, C, G, G, 1, CW, GW)
    r = tl.dot(W3, t * s, input_precision=PRECISION) + _vector(b3, C, CW)[:, None]
    r = _relu(r)
    h = _mixed(x, n, ok, W1, B1, steps, X, XW, PRECISION)
    _put(following, h + r, n, ok, steps, C, C, CW)
    _put(skip, r, n, ok, steps, C, C, CW)


@triton.jit
def gate_gradients(
    x, w1, b1, w2, b2, w3, b3, d_next, d_skip, d_both, dw3, db3, db2, total, steps, left, step,
    X: tl.constexpr, C: tl.constexpr, G: tl.constexpr, TAPS: tl.constexpr, XW: tl.constexpr,
    CW: tl.constexpr, GW: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    W1, B1 = _matrix(w1, C, X, X, 1, CW, XW), _vector(b1, C, CW)
    W3, B3 = _matrix(w3, C, G, G, 1, CW, GW), _vector(b3, C, CW)
    sum_w3, sum_b3 = tl.zeros((CW, GW), tl.float32), tl.zeros((CW,), tl.float32)
    sum_f, sum_g = tl.zeros((GW,), tl.float32), tl.zeros((GW,), tl.float32)
    program = tl.program_id(0)
    for first in range(program * TILE, total, tl.num_programs(0) * TILE):
        n = first + tl.arange(0, TILE)
        ok = n < total
        t, s = _gates(
            x, n, W1, B1, w2, b2, total, steps, left, step, X, C, G, TAPS, XW, CW, GW, TILE,
            PRECISION,
        )  # fmt: skip
        r = tl.dot(W3, t * s, input_precision=PRECISION) + B3[:, None]
        d = _columns(d_next, n, ok, steps, C, C, CW)
        d += _columns(d_skip, n, ok, steps, C, C, CW)
        d = tl.where(r <= 0.0, 0.0, d)
        sum_w3 += tl.dot(d, tl.trans(t * s), input_precision=PRECISION)
        sum_b3 += tl.sum(d, 1)
        dz = tl.dot(tl.trans(W3), d, input_precision=PRECISION)
        df, dg = dz * s * (1.0 - t * t), dz * t * s * (1.0 - s)
        sum_f += tl.sum(df, 1)
        sum_g += tl.sum(dg, 1)
        _put(d_both, df, n, ok, steps, G, 2 * G, GW)
        _put(d_both + G * steps, dg, n, ok, steps, G, 2 * G, GW)
    _store(dw3 + program * C * G, sum_w3, C, G, G, 1, CW, GW)
    tl.store(db3 + program * C + tl.arange(0, CW), sum_b3, mask=tl.arange(0, CW) < C)
    at = tl.arange(0, GW)
    tl.store(db2 + program * 2 * G + at, sum_f, mask=at < G)
    tl.store(db2 + program * 2 * G + G + at, sum_g, mask=at < G)


@triton.jit
def tap_gradients(
    x, w1, b1, d_both, dw2, total, steps, left, step, X: tl.constexpr, C: tl.constexpr,
    G: tl.constexpr, TAPS: tl.constexpr, XW: tl.constexpr, CW: tl.constexpr, GW: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    W1, B1 = _matrix(w1, C, X, X, 1, CW, XW), _vector(b1, C, CW)
    sum_f, sum_g = tl.zeros((GW, CW), tl.float32), tl.zeros((GW, CW), tl.float32)
    program, k = tl.program_id(0), tl.program_id(1)
    by = k * step - left
    for first in range(program * TILE, total, tl.num_programs(0) * TILE):
        n = first + tl.arange(0, TILE)
        ok = n < total
        h = _mixed(x, n + by, _shifted(n, by, total, steps), W1, B1, steps, X, XW, PRECISION)
        df = _columns(d_both, n, ok, steps, G, 2 * G, GW)
        dg = _columns(d_both + G * steps, n, ok, steps, G, 2 * G, GW)
        sum_f += tl.dot(df, tl.trans(h), input_precision=PRECISION)
        sum_g += tl.dot(dg, tl.trans(h), input_precision=PRECISION)
    start = dw2 + program * 2 * G * C * TAPS + k
    _store(start, sum_f, G, C, C * TAPS, TAPS, GW, CW)
    _store(start + G * C * TAPS, sum_g, G, C, C * TAPS, TAPS, GW, CW)


@triton.jit
def mix_gradients(
    x, w1, b1, w2, d_next, d_both, dx, dw1, db1, total, steps, left, step, X: tl.constexpr,
    C: tl.constexpr, G: tl.constexpr, TAPS: tl.constexpr, XW: tl.constexpr, CW: tl.constexpr,
    GW: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    W1, B1 = _matrix(w1, C, X, X, 1, CW, XW), _vector(b1, C, CW)
    sum_w1, sum_b1 = tl.zeros((CW, XW), tl.float32), tl.zeros((CW,), tl.float32)
    program = tl.program_id(0)
    for start in range(program * TILE, total, tl.num_programs(0) * TILE):
        n = start + tl.arange(0, TILE)
        ok = n < total
        d = _columns(d_next, n, ok, steps, C, C, CW)
        for k in range(TAPS):  # those outputs that read the step n
            by = left - k * step
            near = _shifted(n, by, total, steps)
            first = _matrix(w2 + k, G, C, C * TAPS, TAPS, GW, CW)
            second = _matrix(w2 + G * C * TAPS + k, G, C, C * TAPS, TAPS, GW, CW)
            df = _columns(d_both, n + by, near, steps, G, 2 * G, GW)
            dg = _columns(d_both + G * steps, n + by, near, steps, G, 2 * G, GW)
            d += tl.dot(tl.trans(first), df, input_precision=PRECISION)
            d += tl.dot(tl.trans(second), dg, input_precision=PRECISION)
        h = _mixed(x, n, ok, W1, B1, steps, X, XW, PRECISION)
        d = tl.where(h <= 0.0, 0.0, d)
        given = _columns(x, n, ok, steps, X, X, XW)
        sum_w1 += tl.dot(d, tl.trans(given), input_precision=PRECISION)
        sum_b1 += tl.sum(d, 1)
        back = tl.dot(tl.trans(W1), d, input_precision=PRECISION)
        _put(dx, back, n, ok, steps, X, X, XW)
    _store(dw1 + program * C * X, sum_w1, C, X, X, 1, CW, XW)
    tl.store(db1 + program * C + tl.arange(0, CW), sum_b1, mask=tl.arange(0, CW) < C)
