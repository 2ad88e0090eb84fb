#!/usr/bin/env python3
"""Makes a tiny random checkpoint with reference results, for the tests of the models.

    python tools/make_golden.py --arch olmo2 crates/lazuli-testkit/fixtures/olmo2

Needs torch, transformers and safetensors (PyPI). The weights are random and stored as bf16 under the names that
published checkpoints have; the results are computed from the stored weights in f32, in one pass without a cache.
`reference.safetensors` holds `input_ids` [T] i32, `logits` [T, V] f32 and `greedy` [G] i32. Seeds are tried until the
two best tokens are at least MARGIN apart at every step of the greedy continuation.

An architecture is a row in ARCHITECTURES: the class of its configuration, and what the configuration says besides
SIZES. `old` rows are written the way most published files are: `rope_theta` and `rope_scaling` beside each other.
"""

import argparse
import json
import math
import pathlib

import torch
import transformers
from safetensors.torch import save_file

MARGIN = 0.05
PROMPT, GREEDY = 48, 12

SIZES = dict(
    vocab_size=256,
    hidden_size=64,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    tie_word_embeddings=False,
    attn_implementation="eager",
)

# Factors for heads of which twelve elements rotate.
LONG_ROPE = dict(
    rope_type="longrope",
    short_factor=[1.0 + 0.05 * i for i in range(6)],
    long_factor=[1.0 + 0.5 * i for i in range(6)],
)

# Stands for a setting that is null; a row's own None takes a default away.
Null = "null"

DEEPSEEK_V2 = dict(
    config="DeepseekV2Config",
    num_key_value_heads=4,
    kv_lora_rank=16,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=12,
    n_routed_experts=8,
    num_experts_per_tok=3,
    n_shared_experts=2,
    moe_intermediate_size=16,
    first_k_dense_replace=1,
    rope_theta=10000.0,
    rope_scaling=dict(
        rope_type="yarn",
        factor=8.0,
        beta_fast=32,
        beta_slow=1,
        mscale=0.7,
        mscale_all_dim=0.9,
        original_max_position_embeddings=32,
    ),
    old=True,
)

ARCHITECTURES = {
    "gemma2": dict(
        config="Gemma2Config",
        num_hidden_layers=4,
        intermediate_size=64,
        head_dim=16,
        query_pre_attn_scalar=24,
        sliding_window=16,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=8.0,
        tie_word_embeddings=True,
    ),
    "olmo2": dict(config="Olmo2Config"),
    "granite": dict(
        config="GraniteConfig",
        embedding_multiplier=3.0,
        residual_multiplier=0.4,
        attention_multiplier=0.2,
        logits_scaling=0.5,
        tie_word_embeddings=True,
    ),
    "cohere2": dict(
        config="Cohere2Config",
        num_hidden_layers=4,
        intermediate_size=64,
        sliding_window=16,
        rms_norm_eps=None,
        layer_norm_eps=1e-5,
        logit_scale=2.0,
        tie_word_embeddings=True,
    ),
    "glm4": dict(config="Glm4Config", head_dim=16, partial_rotary_factor=0.5),
    "smollm3": dict(
        config="SmolLM3Config", num_hidden_layers=4, intermediate_size=64, tie_word_embeddings=True
    ),
    # A window, and a sequence longer than the original context: the long factors.
    "phi3-long": dict(
        config="Phi3Config",
        num_hidden_layers=2,
        sliding_window=20,
        original_max_position_embeddings=32,
        rope_theta=10000.0,
        rope_scaling=dict(
            LONG_ROPE,
            short_factor=LONG_ROPE["short_factor"] + [1.4, 1.5],
            long_factor=LONG_ROPE["long_factor"] + [4.0, 4.5],
        ),
        old=True,
    ),
    # Phi-4-mini: heads that rotate in three quarters, within the original context: the short factors.
    "phi4-mini": dict(
        config="Phi3Config",
        num_hidden_layers=2,
        original_max_position_embeddings=128,
        partial_rotary_factor=0.75,
        rope_scaling=LONG_ROPE,
        tie_word_embeddings=True,
    ),
    # A shared expert with a gate.
    "qwen2-moe": dict(
        config="Qwen2MoeConfig",
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=32,
        old=True,
    ),
    # Experts as newer checkpoints keep them: all of a layer in one tensor.
    "olmoe": dict(
        joined=True,
        config="OlmoeConfig", num_experts=8, num_experts_per_tok=3, intermediate_size=16, old=True
    ),
    "glm4-moe": dict(
        config="Glm4MoeConfig",
        head_dim=16,
        attention_bias=True,
        use_qk_norm=True,
        n_routed_experts=8,
        num_experts_per_tok=3,
        n_shared_experts=1,
        moe_intermediate_size=16,
        first_k_dense_replace=1,
        routed_scaling_factor=1.5,
    ),
    # Queries straight from the input and no groups, as V2-Lite has them; YaRN as V2's files write it.
    "deepseek-v2-lite": dict(
        DEEPSEEK_V2, q_lora_rank=Null, topk_method="greedy", routed_scaling_factor=1.0
    ),
    "deepseek-v2": dict(
        DEEPSEEK_V2,
        q_lora_rank=24,
        topk_method="group_limited_greedy",
        n_group=4,
        topk_group=2,
        routed_scaling_factor=4.0,
    ),
    "mistral-window": dict(config="MistralConfig", num_hidden_layers=2, sliding_window=16, old=True),
}


def randomise(model, seed):
    """Weights that keep the size of rows, norms near what they begin with; all of them as bf16 stores them."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "embed" in name:
            # Small, or a tied model would repeat its input.
            value = noise * 0.2
        elif weight.ndim > 1:
            value = noise * 1.5 / math.sqrt(weight.shape[-1])
        else:
            value = weight.data + 0.2 * noise
        weight.data = value.to(torch.bfloat16).float()


def apart(weights):
    """Experts as most published checkpoints keep them: a tensor for each projection of each."""
    out = {}
    for name, weight in weights.items():
        stem, _, part = name.rpartition(".experts.")
        if part not in ("gate_up_proj", "down_proj"):
            out[name] = weight
            continue
        for index, expert in enumerate(weight):
            parts = zip(("gate_proj", "up_proj"), expert.chunk(2)) if part == "gate_up_proj" else [(part, expert)]
            for which, value in parts:
                out[f"{stem}.experts.{index}.{which}.weight"] = value.contiguous()
    return out


@torch.no_grad()
def greedy(model, prompt):
    """The greedy continuation and the smallest distance of its two best tokens."""
    ids, margin = list(prompt), math.inf
    for _ in range(GREEDY):
        best = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[len(prompt):], margin


def build(row):
    row = {key: value for key, value in dict(SIZES, **row).items() if value is not None}
    row = {key: None if value is Null else value for key, value in row.items()}
    kind, old = getattr(transformers, row.pop("config")), row.pop("old", False)
    row.pop("joined", None)
    config = kind(**row)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    written = json.loads(config.to_json_string(use_diff=False))
    keep = set(json.loads(config.to_json_string())) | set(row)
    written = {k: v for k, v in written.items() if k in keep and k != "attn_implementation"}
    written["architectures"] = [type(model).__name__]
    written["dtype"] = "bfloat16"
    if old:
        rope = written.pop("rope_parameters")
        written["rope_theta"] = rope.pop("rope_theta")
        rope.pop("partial_rotary_factor", None)
        written["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
        written["torch_dtype"] = written.pop("dtype")
    return model, written


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", required=True, choices=sorted(ARCHITECTURES))
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to try")
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    model, config = build(ARCHITECTURES[args.arch])
    for seed in range(args.seeds):
        randomise(model, seed)
        generator = torch.Generator().manual_seed(seed)
        prompt = torch.randint(3, SIZES["vocab_size"], (PROMPT,), generator=generator).tolist()
        continued, margin = greedy(model, prompt)
        if margin >= MARGIN:
            break
    else:
        raise SystemExit(f"no seed of {args.seeds} has a margin of {MARGIN}")
    with torch.no_grad():
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0]
    weights = {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    if not ARCHITECTURES[args.arch].get("joined"):
        weights = apart(weights)
    if config.get("tie_word_embeddings"):
        weights.pop("lm_head.weight", None)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    reference = {
        "input_ids": torch.tensor(prompt, dtype=torch.int32),
        "logits": logits.float().contiguous(),
        "greedy": torch.tensor(continued, dtype=torch.int32),
    }
    save_file(reference, args.out / "reference.safetensors")
    size = sum(file.stat().st_size for file in args.out.iterdir())
    print(f"{args.out}: seed {seed}, margin {margin:.3f}, logits up to {logits.abs().max():.1f}, {size} bytes")


if __name__ == "__main__":
    main()
