"""Writes the table of docs/quantization.md: perplexity of one model in each format, as packed by Lazuli, by llama.cpp's
llama-quantize and by mlx-lm's convert. All files are scored by `lazuli perplexity`, so that only the weights differ.

    tools/quality_table.py MODEL.gguf TEXT [--lazuli target/release/lazuli] [--llama-quantize llama-quantize]

MODEL is a small model; a packed one is decoded to bf16 first, and that is the source of all the others. Run it with the
Python that has mlx-lm. What is not installed leaves its column empty.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path("docs/quantization.md")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
FILES = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K", "Q4_0"]
FOLDERS = {
    "q8": ["--q-bits", "8", "--q-group-size", "64"],
    "6g64": ["--q-bits", "6", "--q-group-size", "64"],
    "q4": ["--q-bits", "4", "--q-group-size", "64"],
    "3g32": ["--q-bits", "3", "--q-group-size", "32"],
    "mxfp8": ["--q-mode", "mxfp8", "--q-bits", "8", "--q-group-size", "32"],
    "mxfp4": ["--q-mode", "mxfp4", "--q-bits", "4", "--q-group-size", "32"],
}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--lazuli", default="target/release/lazuli")
    parser.add_argument("--llama-quantize", default="llama-quantize")
    options = parser.parse_args()
    lazuli = options.lazuli

    def score(path):
        said = run(lazuli, "perplexity", path, "--file", options.text, "--json")
        remove(path)
        return json.loads(said)["perplexity"]

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source, plain = work / "source.gguf", work / "source"
        run(lazuli, "quantize", options.model, source, "--format", "bf16", "--requantize")
        run(lazuli, "quantize", source, plain, "--format", "bf16")
        copy = work / "copy.gguf"
        copy.hardlink_to(source)
        rows = [("bf16", 16.0, score(copy), None)]
        has_llama, has_mlx = shutil.which(options.llama_quantize), importlib.util.find_spec("mlx_lm")
        for name, settings in [(name, None) for name in FILES] + list(FOLDERS.items()):
            ours, theirs = (work / f"ours{'.gguf' if settings is None else ''}", work / f"theirs{'.gguf' if settings is None else ''}")
            report = json.loads(run(lazuli, "quantize", source if settings is None else plain, ours, "--format", name, "--json"))
            other = None
            if settings is None and has_llama:
                run(options.llama_quantize, source, theirs, name)
                other = score(theirs)
            elif settings is not None and has_mlx:
                run(sys.executable, "-m", "mlx_lm", "convert", "--hf-path", plain, "--mlx-path", theirs, "-q", *settings)
                other = score(theirs)
            rows.append((name, report["bits_per_weight"], score(ours), other))
            print(rows[-1], flush=True)
    lines = ["| format | bits per weight | Lazuli | llama-quantize or mlx-lm | difference |", "|---|---|---|---|---|"]
    for name, bits, ours, theirs in rows:
        other = "" if theirs is None else f"{theirs:.3f}"
        difference = "" if theirs is None else f"{(ours / theirs - 1) * 100:+.2f} %"
        lines.append(f"| {name} | {bits:.2f} | {ours:.3f} | {other} | {difference} |")
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)


main()
