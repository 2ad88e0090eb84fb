#!/usr/bin/env python3
"""Renders chat templates as transformers does, for the tests of lazuli-io.

    python tools/make_chat_goldens.py crates/lazuli-io/tests/chat

Needs transformers and jinja2 (PyPI). Reads `templates/*.jinja` and `conversations.json` in the folder and writes
`expected.json`: for each template and conversation the text, or null where the template refuses. The clock stands at
CLOCK, and the special tokens are TOKENS, as the test has them.
"""

import datetime
import json
import pathlib
import sys

from transformers.utils import chat_template_utils

CLOCK = datetime.datetime(2025, 7, 26, 14, 5, 9)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return CLOCK


def render(source, case):
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[case["messages"]],
            tools=case.get("tools"),
            chat_template=source,
            add_generation_prompt=case.get("add_generation_prompt", True),
            **TOKENS,
            **case.get("extra", {}),
        )
        return rendered[0]
    except Exception as error:  # What a template refuses is as much a result as a text.
        print(f"  refused: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def main():
    folder = pathlib.Path(sys.argv[1])
    chat_template_utils.datetime = Clock
    cases = json.loads((folder / "conversations.json").read_text())
    expected = {}
    for path in sorted(folder.glob("templates/*.jinja")):
        print(path.name, file=sys.stderr)
        source = path.read_text()
        expected[path.stem] = {name: render(source, case) for name, case in cases.items()}
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (folder / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
