"""What runs a model's graph: onnxruntime's execution providers by short names, and what is promised of each.

Other hardware gives other bits, so who ran a model is part of its fingerprint: states and forecasts that one provider
made are never taken for those of another, and everything that refuses another model refuses another provider. On the
CPU the fingerprint is that of the file.

Kernels of other providers are chosen by the size of a batch, and give a row other bits in a batch of another size. So
there every call has the same shape: one step of `FIXED_ROWS` series, padded where there are fewer. What holds of that
one shape is tried when the model is loaded, over two sessions, and a model that does not keep it is refused.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

CPU = "cpu"
FIXED_ROWS = 64  # series of a call on other providers: as many as a tile of the largest models has


class Provider(NamedTuple):
    """One of onnxruntime's execution providers."""

    known_as: str  # by onnxruntime
    install: str  # what brings it
    options: tuple[tuple[str, str], ...] = ()  # that keep float32, and the same kernels at each start


# TensorRT is not among them: it chooses kernels by timing them when it starts, so the bits would be others each time.
PROVIDERS = {
    CPU: Provider("CPUExecutionProvider", "pip install onnxruntime"),
    "cuda": Provider(
        "CUDAExecutionProvider",
        "pip install onnxruntime-gpu in place of onnxruntime, beside CUDA and cuDNN of the versions it names",
        # TF32 rounds factors to ten bits. The default search picks one kernel; the others time them.
        (("use_tf32", "0"), ("cudnn_conv_algo_search", "DEFAULT"), ("do_copy_in_default_stream", "1")),
    ),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "pip install onnxruntime-openvino in place of onnxruntime",
        (("device_type", "CPU"), ("precision", "FP32")),
    ),
    "coreml": Provider("CoreMLExecutionProvider", "pip install onnxruntime on macOS"),
    "dml": Provider("DmlExecutionProvider", "pip install onnxruntime-directml in place of onnxruntime, on Windows"),
    "migraphx": Provider("MIGraphXExecutionProvider", "AMD's wheel of onnxruntime for ROCm"),
    "dnnl": Provider("DnnlExecutionProvider", "a build of onnxruntime with oneDNN"),
    "xnnpack": Provider("XnnpackExecutionProvider", "a build of onnxruntime with XNNPACK"),
}


def fingerprint(model_bytes: bytes, provider: str = CPU) -> str:
    """The identity of a model as a provider runs it: 64 hexadecimal digits, on the CPU SHA-256 of its file."""
    return run_by(hashlib.sha256(model_bytes).hexdigest(), provider)


def run_by(file: str, provider: str) -> str:
    """The fingerprint of a file, given that on the CPU, as a provider runs it."""
    return file if provider == CPU else hashlib.sha256(f"{file} {provider}".encode()).hexdigest()


def provider_of(model_bytes: bytes, model: str) -> str | None:
    """Which provider a fingerprint names of the model in a file; None if it is another model's."""
    file = fingerprint(model_bytes)
    return next((name for name in PROVIDERS if run_by(file, name) == model), None)


def told_apart(theirs: str, mine: str) -> str:
    """What to say of two fingerprints of which one file, run by two providers, is the reason; else nothing."""
    for name in PROVIDERS:
        if name != CPU and run_by(mine, name) == theirs:
            return f"it is the same model run by the provider {name}: --provider {name}"
        if name != CPU and run_by(theirs, name) == mine:
            return f"it is the same model run by the provider {CPU}, not by {name}: --provider {CPU}"
    return ""
