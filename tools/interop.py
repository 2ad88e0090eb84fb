"""Checks that other programs read what `lazuli quantize` writes, and compute the same from it.

mlx-lm loads folders and must give the same logits within 0.01 in single precision. llama.cpp loads GGUF files; the weights
that it decodes must be the same bit for bit, and so must its perplexity be, within 0.5 %: of the file that llama-quantize
expands to f32, against `--precision exact` of the packed one. Of the packed file itself llama.cpp's perplexity must be
within 0.5 %, or 1 % for formats with blocks of 256, for which it rounds activations in groups of 256. What is not
installed is skipped, with the reason.

    tools/interop.py MODEL.gguf TEXT [--lazuli target/release/lazuli] [--llama-perplexity llama-perplexity]

MODEL is a small llama, qwen2 or gemma3 model (a packed one is decoded first), TEXT a text of some thousand words.
Run it with the Python that has mlx-lm.
"""

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDERS = ["bf16", "q4", "q8", "3g32", "6g64", "mxfp4", "nvfp4", "mxfp8"]
FILES = ["bf16", "Q4_K_M", "Q5_K_M", "Q3_K_M", "Q2_K", "Q6_K", "Q8_0", "Q4_0", "IQ4_XS"]
EXACT = ["bf16", "Q8_0", "Q4_0"]
TOKENS = [1, 504, 3575, 282, 260, 2278, 314, 253, 1181, 30, 378, 1017, 327, 260, 1100, 2, 99, 1000, 42, 7, 123, 4567]


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def check_mlx(lazuli, source, work):
    if importlib.util.find_spec("mlx_lm") is None:
        print("skipped: mlx-lm is not installed here, so no folder is read with it")
        return True
    import mlx.core as mx
    import numpy as np
    from mlx_lm import load

    mx.set_default_device(mx.cpu)
    good = True
    for name in FOLDERS:
        folder = work / name
        run(lazuli, "quantize", source, folder, "--format", name)
        model, tokenizer = load(str(folder))
        model.set_dtype(mx.float32)
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        tokens = [token % vocabulary for token in TOKENS]
        theirs = np.array(model(mx.array([tokens]))[0])
        out = work / "logits.safetensors"
        ids = ",".join(map(str, tokens))
        run(lazuli, "logits", folder, "--tokens", ids, "--out", out, "--precision", "exact")
        ours = np.array(mx.load(str(out))["logits"])
        difference = float(np.abs(ours - theirs[:, : ours.shape[1]]).max())
        text = "The speed of light is 299 792 458 m/s.\\n\\n  It's exact!"
        same_tokens = tokenizer.decode(tokenizer.encode(text)).endswith(text)
        passed = difference <= 0.01 and same_tokens
        good &= passed
        print(f"mlx-lm     {name:8} logits differ by {difference:.5f}  {'ok' if passed else 'FAILED'}", flush=True)
        shutil.rmtree(folder)
    return good


def floats(path):
    """Names and bytes of the tensors of a GGUF file."""
    import gguf

    return {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors}


def check_llama(lazuli, perplexity, quantize, source, text, work):
    if shutil.which(perplexity) is None:
        print(f"skipped: there is no {perplexity}, so no GGUF file is read with llama.cpp")
        return True
    decodes = shutil.which(quantize) is not None and importlib.util.find_spec("gguf") is not None
    if not decodes:
        print(f"skipped: without {quantize} and gguf-py, weights as llama.cpp decodes them are not compared")

    def score(path):
        said = run(perplexity, "-m", path, "-f", text, "-c", "512", "-t", "2")
        return float(re.search(r"Final estimate: PPL = ([0-9.]+)", said)[1])

    def own_score(path, precision):
        said = run(lazuli, "perplexity", path, "--file", text, "--precision", precision, "--json")
        return json.loads(said.strip())["perplexity"]

    good = True
    for name in FILES:
        path = work / f"{name}.gguf"
        run(lazuli, "quantize", source, path, "--format", name)
        theirs, ours = score(path), own_score(path, "fast")
        # llama.cpp rounds activations in groups of 256 where a format has blocks of 256, Lazuli in groups of 32.
        passed = abs(ours / theirs - 1) <= (0.005 if name in EXACT else 0.01)
        same = ""
        if decodes:
            decoded = [work / "decoded-ours.gguf", work / "decoded-theirs.gguf"]
            run(lazuli, "quantize", path, decoded[0], "--format", "f32", "--requantize")
            run(quantize, "--allow-requantize", path, decoded[1], "F32")
            equal = floats(decoded[0]) == floats(decoded[1])
            # Expanded, nothing rounds activations on either side.
            plain, exact = score(decoded[1]), own_score(path, "exact")
            passed &= equal and abs(exact / plain - 1) <= 0.005
            same = f"; expanded {plain:.4f}, exact {exact:.4f}; weights {'are' if equal else 'are NOT'} bit-identical"
            for file in decoded:
                file.unlink()
        good &= passed
        verdict = "ok" if passed else "FAILED"
        print(f"llama.cpp  {name:8} perplexity {theirs:.4f}, ours {ours:.4f}{same}  {verdict}", flush=True)
        path.unlink()
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--formats", nargs="*", help="only these")
    parser.add_argument("--lazuli", default="target/release/lazuli")
    parser.add_argument("--llama-perplexity", default="llama-perplexity")
    parser.add_argument("--llama-quantize", default="llama-quantize")
    options = parser.parse_args()
    if options.formats:
        FOLDERS[:] = [name for name in FOLDERS if name in options.formats]
        FILES[:] = [name for name in FILES if name in options.formats]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = work / "source.gguf"
        run(options.lazuli, "quantize", options.model, source, "--format", "bf16", "--requantize")
        good = check_mlx(options.lazuli, source, work)
        good &= check_llama(
            options.lazuli, options.llama_perplexity, options.llama_quantize, source, options.text, work
        )
    sys.exit(0 if good else 1)


main()
