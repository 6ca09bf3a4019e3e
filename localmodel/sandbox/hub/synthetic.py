"""A model made of noise: valid safetensors files of any size, the same bytes for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

MAX_SHARD_BYTES = 256 << 20
_MAX_TENSOR_BYTES = 16 << 20
_MIN_TENSORS = 4
_BLOCK = 1 << 20
_ELEMENT_BYTES = 2  # F16


def make_synthetic_model(
    directory: Path, total_bytes: int, *, seed: int = 0, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Writes a model whose tensors hold `total_bytes` (rounded down to whole 16-bit numbers) into `directory`.

    `config.json` and `model.safetensors`; above `max_shard_bytes` several shards with `model.safetensors.index.json`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shards = list(_shards(total_bytes // _ELEMENT_BYTES * _ELEMENT_BYTES, max_shard_bytes))
    weight_map = {}
    for index, tensors in enumerate(shards):
        name = "model.safetensors"
        if len(shards) > 1:
            name = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        _write_safetensors(directory / name, tensors, seed=seed)
        weight_map.update(dict.fromkeys(tensors, name))
    if len(shards) > 1:
        total = sum(size for tensors in shards for size in tensors.values())
        _write_json(
            directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}
        )
    config = {
        "architectures": ["SyntheticModel"],
        "model_type": "synthetic",
        "num_hidden_layers": len(weight_map),
        "torch_dtype": "float16",
    }
    _write_json(directory / "config.json", config)


def _shards(total: int, max_shard_bytes: int) -> Iterator[dict[str, int]]:
    """Tensor names with their sizes in bytes, shard by shard."""
    step = min(_MAX_TENSOR_BYTES, max_shard_bytes, max(total // _MIN_TENSORS, _ELEMENT_BYTES))
    step -= step % _ELEMENT_BYTES
    shard: dict[str, int] = {}
    for index, start in enumerate(range(0, max(total, 1), step)):
        size = min(step, total - start)
        if shard and sum(shard.values()) + size > max_shard_bytes:
            yield shard
            shard = {}
        shard[f"model.layers.{index}.weight"] = size
    yield shard


def _write_safetensors(path: Path, tensors: dict[str, int], *, seed: int) -> None:
    """The format: eight bytes with the header's length, little-endian; a JSON header; the tensors' bytes in a row."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, size in tensors.items():
        header[name] = {"dtype": "F16", "shape": [size // _ELEMENT_BYTES], "data_offsets": [end, end + size]}
        end += size
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, size in tensors.items():
            noise = random.Random(f"{seed} {name}")
            for start in range(0, size, _BLOCK):
                file.write(noise.randbytes(min(_BLOCK, size - start)))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
