#!/usr/bin/env python3
"""Quantises a fixture with mlx-lm and makes its reference results, for the tests of the models.

    python tools/make_mlx_golden.py crates/lazuli-testkit/fixtures/phi3-long OUT --bits 4 --group-size 32

Needs mlx and mlx-lm (PyPI). The checkpoint is as mlx-lm writes it, the results are computed by mlx in f32 from the
quantised weights. `greedy` is left out where the two best tokens are closer than MARGIN.
"""

import argparse
import json
import pathlib

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.utils import load_model, quantize_model, save_model

MARGIN = 0.05


def logits_of(model, ids):
    return model(mx.array([ids]))[0].astype(mx.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fixture", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=32)
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)
    before = mx.load(str(args.fixture / "reference.safetensors"))
    ids = before["input_ids"].tolist()
    # mlx-lm reads the older form of the position embedding's settings.
    rope = json.loads((args.fixture / "config.json").read_text()).get("rope_parameters", {})
    plain = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    model, config = load_model(args.fixture, model_config=plain)
    model.update(tree_map(lambda x: x.astype(mx.float32), model.parameters()))
    same = mx.abs(logits_of(model, ids) - before["logits"]).max().item()
    print(f"before: {same:.2e} from the fixture's own results")
    model, config = quantize_model(model, config, args.group_size, args.bits)
    logits = logits_of(model, ids)
    greedy, margin = [], float("inf")
    for _ in range(12):
        row = mx.sort(logits_of(model, ids + greedy)[-1])
        margin = min(margin, (row[-1] - row[-2]).item())
        greedy.append(mx.argmax(logits_of(model, ids + greedy)[-1]).item())
    args.out.mkdir(parents=True, exist_ok=True)
    save_model(args.out, model)
    (args.out / "model.safetensors.index.json").unlink(missing_ok=True)
    (args.out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    reference = {"input_ids": before["input_ids"], "logits": logits}
    if margin >= MARGIN:
        reference["greedy"] = mx.array(greedy, dtype=mx.int32)
    mx.save_safetensors(str(args.out / "reference.safetensors"), reference)
    print(f"{args.out}: margin {margin:.3f}")


if __name__ == "__main__":
    main()
