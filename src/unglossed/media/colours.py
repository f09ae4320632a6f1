"""Convert a decoded frame to 8-bit RGB as a screen of BT.709 shows it.

FFmpeg converts what is tagged BT.601 or BT.709. Here is what players do beyond it: frames without a
tag go by their size, and those of phones in HLG, PQ, BT.2020 or Display P3 by the curves and the
primaries of the standards. FFmpeg could do the latter too, but spends seconds on a table for every
new frame size.
"""

from __future__ import annotations

from functools import lru_cache

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray

_UNSPECIFIED = 2  # ISO/IEC 23091-2 numbers curves, primaries and matrices alike
_MATRICES = {"YCgCo": 8, "BT.2020 with constant luminance": 10, "ICtCp": 14, "IPT-PQ-C2": 15}
# From this size on players take frames without a tag for HD.
_HD_WIDTH, _HD_HEIGHT = 1280, 577

_WHITE = 203.0  # cd/m2 of SDR white in an HDR picture: ITU-R BT.2408
_HLG_PEAK, _PQ_PEAK = 1000.0, 10000.0
_HLG_GAMMA = 1.2
_SDR_GAMMA = 2.4  # ITU-R BT.1886
_BT2020_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
# Linear light to that of BT.709: ITU-R BT.2087, and the same for P3 with the white of D65.
_FROM_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_FROM_P3 = np.array(
    [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32
)
_WIDE = {
    ColorPrimaries.BT2020: _FROM_BT2020,
    ColorPrimaries.SMPTE431: _FROM_P3,
    ColorPrimaries.SMPTE432: _FROM_P3,
}
_HDR = (ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084)
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
_FULL_SIGNAL = 65283  # FFmpeg's white in 16 bits


def to_rgb8(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Pixels of a frame: (height, width, 3) uint8, RGB.

    What is brighter than SDR white, or outside the colours of BT.709, is clipped.
    """
    matrix = _matrix_of(frame)
    if is_wide(frame.color_trc, frame.color_primaries):
        return _narrow(frame, matrix)
    return np.asarray(frame.to_ndarray(format="rgb24", src_colorspace=matrix), np.uint8)


def is_wide(curve: int, primaries: int) -> bool:
    """Whether colours are HDR, or wider than BT.709."""
    return curve in _HDR or primaries in _WIDE


def is_untagged_hd(matrix: int, width: int, height: int) -> bool:
    """Whether only the size of a frame tells that its colours are coded as in HD."""
    return matrix == _UNSPECIFIED and (width >= _HD_WIDTH or height >= _HD_HEIGHT)


def unknown_matrix(matrix: int) -> str | None:
    """Name of a colour coding that is not supported; None for all others."""
    return next((name for name, number in _MATRICES.items() if number == matrix), None)


def _matrix_of(frame: av.VideoFrame) -> Colorspace | None:
    """The matrix of a frame's colours; None: FFmpeg reads its tag."""
    if frame.colorspace != _UNSPECIFIED:
        return None
    if frame.color_primaries == ColorPrimaries.BT2020 or frame.color_trc in _HDR:
        return Colorspace.BT2020
    is_hd = is_untagged_hd(_UNSPECIFIED, frame.width, frame.height)
    return Colorspace.ITU709 if is_hd else None


def _narrow(frame: av.VideoFrame, matrix: Colorspace | None) -> NDArray[np.uint8]:
    signal = frame.to_ndarray(format="rgb48le", src_colorspace=matrix, interpolation=_EXACT)
    light = _curve(frame.color_trc)[signal]  # 1 is SDR white
    if frame.color_trc == ColorTrc.ARIB_STD_B67:  # ITU-R BT.2100, table 5: the OOTF
        luminance = cv2.transform(light, _BT2020_LUMINANCE)
        light *= cv2.pow(luminance, _HLG_GAMMA - 1).reshape(*luminance.shape[:2], 1)
        light *= np.float32(_HLG_PEAK / _WHITE)
    light = cv2.transform(light, _WIDE.get(frame.color_primaries, _FROM_BT2020))
    shown = cv2.pow(np.clip(light, 0, 1, out=light), 1 / _SDR_GAMMA)
    return np.asarray(cv2.convertScaleAbs(shown, alpha=255), np.uint8)


@lru_cache(maxsize=4)
def _curve(curve: int) -> NDArray[np.float32]:
    """Light of every 16-bit signal; for HDR by ITU-R BT.2100, tables 4 and 5."""
    signal = np.minimum(np.arange(1 << 16) / _FULL_SIGNAL, 1)
    if curve == ColorTrc.SMPTE2084:
        power = signal ** (1 / 78.84375)
        light = (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (
            1 / 0.1593017578125
        )
        light *= _PQ_PEAK / _WHITE
    elif curve == ColorTrc.ARIB_STD_B67:  # light of the scene, 0 to 1
        bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        light = np.where(signal <= 0.5, signal**2 / 3, bright)
    else:
        light = signal**_SDR_GAMMA
    return light.astype(np.float32)
