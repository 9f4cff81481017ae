"""Which decoders and encoders of PyAV the framework uses; imports no PyAV."""

DECODERS: dict[str, tuple[str, ...]] = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "vp9": ("vp9", "libvpx-vp9"),
    # FFmpeg's own decoder of this name works on some graphics hardware alone.
    "av1": ("libdav1d", "libaom-av1", "libgav1"),
    "mpeg4": ("mpeg4",),
}
"""Video format to the decoders that read it; any of them will do."""

H264_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")
"""What can write the overlay, the best first."""

REINSTALL = "pip install --force-reinstall --only-binary av av"
"""What brings the codecs that PyAV's own wheels hold."""
